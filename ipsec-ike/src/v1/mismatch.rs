//! Which of the five parameters of phase 1 did not match, and what each side offers.

use core::fmt;

use ipsec_core::crypto::Group;

use crate::wire::v1::{AuthMethod, Cipher, Hash};

/// One of the parameters of phase 1 that two sides may not have in common. A lifetime is never refused: the shorter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Parameter {
    /// The cipher and its key length.
    Encryption,
    /// The hash.
    Hash,
    /// The key-exchange group.
    Group,
    /// The method of authentication.
    Authentication,
    /// Each one is there, but not together.
    Combination,
}

impl Parameter {
    pub(super) const EACH: [Self; 4] =
        [Self::Encryption, Self::Hash, Self::Group, Self::Authentication];
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encryption => "encryption",
            Self::Hash => "hash",
            Self::Group => "group",
            Self::Authentication => "authentication",
            Self::Combination => "combination of parameters",
        })
    }
}

/// One value of a [`Parameter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its number in the registry of that parameter (RFC 2409 appendix A).
    pub number: u16,
    /// The key length in bits, 0 if none was given.
    pub key_bits: u16,
}

impl Value {
    fn show(self, parameter: Parameter, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match parameter {
            Parameter::Encryption => fmt::Display::fmt(&Cipher(self.number), f)?,
            Parameter::Hash => fmt::Display::fmt(&Hash(self.number), f)?,
            Parameter::Group => fmt::Display::fmt(&Group(self.number), f)?,
            Parameter::Authentication => fmt::Display::fmt(&AuthMethod(self.number), f)?,
            Parameter::Combination => {}
        }
        if self.key_bits != 0 { write!(f, "-{}", self.key_bits) } else { Ok(()) }
    }
}

/// Values of one parameter, each once, cut after eight.
pub type Values = heapless::Vec<Value, 8>;

/// Why nothing of an offer for phase 1 is acceptable: the first parameter that has no value in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase1Mismatch {
    /// Which.
    pub parameter: Parameter,
    /// What the peer offers; empty for a [`Parameter::Combination`].
    pub offered: Values,
    /// What we allow; empty for a [`Parameter::Combination`].
    pub wanted: Values,
}

impl fmt::Display for Phase1Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.parameter)?;
        for (who, values) in [("the peer offers", &self.offered), ("we allow", &self.wanted)] {
            for (i, value) in values.iter().enumerate() {
                match i {
                    0 => write!(f, ", {who} ")?,
                    _ => f.write_str(" ")?,
                }
                value.show(self.parameter, f)?;
            }
        }
        Ok(())
    }
}
