//! Distinguished names as administrators write them, `C=IN, O=Example, CN=delhi`, as the DER of an X.501 Name.
//!
//! Identities are compared byte by byte (RFC 4945 section 3.1.5), so that the kinds of strings matter: they are what
//! OpenSSL chooses, UTF8String, but for `C`, `serialNumber` and `DN` (PrintableString), and for mail addresses and `DC`
//! (IA5String).

/// What an attribute is called, its object identifier in DER, and the tag of its string.
const ATTRIBUTES: [(&str, &[u8], u8); 12] = [
    ("CN", &[0x55, 4, 3], UTF8),
    ("SN", &[0x55, 4, 4], UTF8),
    ("serialNumber", &[0x55, 4, 5], PRINTABLE),
    ("C", &[0x55, 4, 6], PRINTABLE),
    ("L", &[0x55, 4, 7], UTF8),
    ("ST", &[0x55, 4, 8], UTF8),
    ("STREET", &[0x55, 4, 9], UTF8),
    ("O", &[0x55, 4, 10], UTF8),
    ("OU", &[0x55, 4, 11], UTF8),
    ("T", &[0x55, 4, 12], UTF8),
    ("emailAddress", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], IA5),
    ("DC", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], IA5),
];
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;

/// Whether a text is meant as a distinguished name: it begins with the name of an attribute and `=`.
pub(crate) fn is_name(text: &str) -> bool {
    let first = text.split_once('=').map(|(key, _)| key.trim());
    first.is_some_and(|key| !key.is_empty() && key.chars().all(char::is_alphanumeric))
}

/// Its DER. A comma in a value is written `\,`.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let (letter, ends) = match letter {
            '\\' => (letters.next().unwrap_or('\\'), false),
            letter => (letter, letter == ','),
        };
        match parts.last_mut() {
            Some(part) if !ends => part.push(letter),
            _ => parts.push(String::new()),
        }
    }
    let mut name = Vec::new();
    for part in parts {
        let (key, value) =
            part.split_once('=').ok_or_else(|| format!("`{part}` is no KEY=VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        let found = ATTRIBUTES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(key));
        let Some((_, id, tag)) = found else {
            let known: Vec<_> = ATTRIBUTES.iter().map(|(name, ..)| *name).collect();
            return Err(format!("`{key}` is none of {}", known.join(", ")));
        };
        if value.is_empty() || *tag != UTF8 && !value.is_ascii() {
            return Err(format!("`{value}` cannot be a value of {key}"));
        }
        let attribute = [element(6, id), element(*tag, value.as_bytes())].concat();
        name.extend(element(0x31, &element(0x30, &attribute)));
    }
    Ok(element(0x30, &name))
}

/// An element with a definite length of up to two bytes; what is longer fits into no message.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = u16::try_from(contents.len()).unwrap_or(u16::MAX);
    let [high, low] = len.to_be_bytes();
    let head = match len {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], contents].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    /// The subjects of requests made by `openssl req -subj ...`.
    #[test]
    fn as_openssl_writes_them() {
        let cases = [
            ("CN=kolkata", include_str!("distinguished/kolkata.hex")),
            (
                "C=IN, ST=West Bengal, O=Example\\, Ltd., CN=delhi",
                include_str!("distinguished/delhi.hex"),
            ),
            (
                "DC=example, emailAddress=a@example.org, serialNumber=7",
                include_str!("distinguished/mail.hex"),
            ),
        ];
        for (text, der) in cases {
            assert!(is_name(text));
            assert_eq!(parse(text).unwrap(), hex(der.trim()), "{text}");
        }
    }

    #[test]
    fn mistakes_and_what_is_no_name() {
        assert!(parse("CN").unwrap_err().contains("KEY=VALUE"));
        assert!(parse("XY=1").unwrap_err().contains("none of CN"));
        assert!(parse("C=\u{e9}").unwrap_err().contains("cannot be"));
        assert!(parse("CN=a,,CN=b").is_err() && parse("CN=").is_err());
        for text in ["delhi.example", "10.8.0.1", "a@example.org", "%any", "@delhi", "=x"] {
            assert!(!is_name(text), "{text}");
        }
    }
}
