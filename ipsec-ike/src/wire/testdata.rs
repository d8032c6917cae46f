//! Messages that others made, to test against.

/// An IKE_SA_INIT request made by scapy 2.8 (`scapy.contrib.ikev2`): two IKE proposals, an X25519 value, a nonce, both
/// NAT detection notifies and IKEV2_FRAGMENTATION_SUPPORTED.
pub(super) const SA_INIT_REQUEST: [u8; 260] = hex(
    "c0ffee012345678900000000000000002120220800000000000001042200005c02000028010100040300000801000014\
     0300000802000005030000080400001f00000008040000130000003002010005030000080100000c030000080300000c\
     03000008020000050300000802000002000000080400000e28000028001f000000d3e7939b3476694c626adcc8ef8aed\
     2ed88d57cbfe0710dc4adbcbafe37782290000241f627d2f1cf4d27f0c7ee0c72d68b99c7814dae4f6ca20946639f5a3\
     ccb73d042900001c0000400428a3d6d537e5d5090d33c042ad97db2081e47f9c2900001c000040054658d6abbbaf7748\
     c172ed5a3e003cdb8997648f000000080000402e",
);

/// The bytes of a hexadecimal string.
pub(super) const fn hex<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    assert!(text.len() == 2 * N);
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}

const fn digit(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        b'a'..=b'f' => c - b'a' + 10,
        _ => panic!(),
    }
}
