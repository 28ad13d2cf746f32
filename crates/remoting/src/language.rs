//! The sender's language, as clients name themselves in every header.

use std::fmt;

/// Language of a peer: a byte in binary headers, a name in JSON headers.
///
/// Numbers nobody has assigned yet are kept as they are, so that a newer client is not refused for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LanguageCode(pub u8);

/// Names in the order of their numbers.
const NAMES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST",
    "NODE_JS",
];

impl LanguageCode {
    /// Java clients, and what every broker answers with (old clients know no newer name).
    pub const JAVA: Self = Self(0);
    /// The C++ client and what is built on it.
    pub const CPP: Self = Self(1);
    /// .NET clients.
    pub const DOTNET: Self = Self(2);
    /// Python clients.
    pub const PYTHON: Self = Self(3);
    /// Any language without a name of its own.
    pub const OTHER: Self = Self(7);
    /// The Go client.
    pub const GO: Self = Self(9);
    /// Rust clients.
    pub const RUST: Self = Self(12);
    /// Node.js clients.
    pub const NODE_JS: Self = Self(13);

    /// The name used in JSON; a number without a name is shown as `OTHER`.
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// The code for a JSON name; an unknown name is [`LanguageCode::OTHER`].
    pub fn from_name(name: &str) -> Self {
        NAMES.iter().zip(0u8..).find(|(known, _)| **known == name).map_or(Self::OTHER, |(_, number)| Self(number))
    }
}

impl fmt::Display for LanguageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for number in 0..14 {
            assert_eq!(LanguageCode::from_name(LanguageCode(number).name()), LanguageCode(number));
        }
        assert_eq!(LanguageCode::from_name("GO"), LanguageCode::GO);
        assert_eq!(LanguageCode::from_name("COBOL"), LanguageCode::OTHER);
        assert_eq!(LanguageCode(200).name(), "OTHER");
    }
}
