//! Hashes of tags.

/// Java's `String.hashCode`: over UTF-16 units, a character beyond the basic plane counts as two.
pub fn java_string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// What a consume queue row holds for a message with this tag; 0 for a message without one.
pub fn tags_code(tag: Option<&str>) -> i64 {
    tag.map_or(0, |tag| i64::from(java_string_hash(tag)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_as_java_does() {
        assert_eq!(java_string_hash(""), 0);
        assert_eq!(java_string_hash("TagA"), 2_598_919);
        assert_eq!(java_string_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_string_hash("é"), 233);
        assert_eq!(java_string_hash("\u{1f600}"), 31 * 0xd83d + 0xde00);
        assert_eq!(tags_code(Some("polygenelubricants")), -2_147_483_648);
        assert_eq!(tags_code(Some("")), 0);
        assert_eq!(tags_code(None), 0);
    }

    proptest! {
        #[test]
        fn is_the_polynomial(text in "\\PC{0,20}") {
            let units: Vec<u16> = text.encode_utf16().collect();
            let mut sum = 0u64;
            for unit in units {
                sum = (sum * 31 + u64::from(unit)) & 0xffff_ffff;
            }
            prop_assert_eq!(java_string_hash(&text), sum as u32 as i32);
        }
    }
}
