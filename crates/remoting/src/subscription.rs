//! Tag expressions: `*` or `A || B`.

/// Expression type of tags.
pub const TAG_EXPRESSION: &str = "TAG";
/// Expression type of SQL.
pub const SQL92_EXPRESSION: &str = "SQL92";

/// What a tag expression asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// Every message, with or without a tag.
    All,
    /// Messages with one of these tags: not empty, in order, without repetition.
    Set(Vec<String>),
}

impl Tags {
    /// Whether a message with this tag is asked for.
    pub fn matches(&self, tag: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Set(set) => tag.is_some_and(|tag| set.iter().any(|wanted| wanted == tag)),
        }
    }
}

/// Reads a tag expression: empty and `*` ask for all, otherwise tags stand between `||`. An expression of nothing but
/// separators asks for all, too: clients refuse to make one, so none means less than that.
pub fn parse_tags(expression: &str) -> Tags {
    let trimmed = expression.trim();
    if trimmed.is_empty() || trimmed == "*" {
        return Tags::All;
    }
    let mut set: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for tag in trimmed.split("||").map(str::trim) {
        if !tag.is_empty() && seen.insert(tag) {
            set.push(tag.to_owned());
        }
    }
    if set.is_empty() { Tags::All } else { Tags::Set(set) }
}

/// Java's string hash over UTF-16 units: what consume queues hold for a tag.
pub fn tag_hash(tag: &str) -> i32 {
    tag.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(tags: &[&str]) -> Tags {
        Tags::Set(tags.iter().map(|tag| (*tag).to_owned()).collect())
    }

    #[test]
    fn parses_tag_expressions() {
        for all in ["", "*", " * ", "  ", "||", " || "] {
            assert_eq!(parse_tags(all), Tags::All, "{all:?}");
        }
        assert_eq!(parse_tags("A"), set(&["A"]));
        assert_eq!(parse_tags(" A||B || A ||"), set(&["A", "B"]));
        assert_eq!(parse_tags("A|B"), set(&["A|B"]));
        assert_eq!(parse_tags("A || *"), set(&["A", "*"]));
    }

    #[test]
    fn a_message_without_a_tag_matches_only_all() {
        assert!(Tags::All.matches(None));
        assert!(!set(&["A"]).matches(None));
        assert!(set(&["A", "B"]).matches(Some("B")));
        assert!(!set(&["A"]).matches(Some("a")));
    }

    #[test]
    fn hashes_as_java_does() {
        assert_eq!(tag_hash(""), 0);
        assert_eq!(tag_hash("A"), 65);
        assert_eq!(tag_hash("TagA"), 2_598_919);
        assert_eq!(tag_hash("polygenelubricants"), i32::MIN);
        assert_eq!(tag_hash("\u{1f600}"), 31 * 0xd83d + 0xde00);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Tags with anything but separators around and between them.
        #[test]
        fn tags_are_what_stands_between_the_bars(
            tags in prop::collection::vec("[A-Za-z*|]?[A-Za-z]", 1..8),
            blanks in prop::collection::vec("[ \t]{0,2}", 16),
            probe in "[A-Za-z*]{0,2}",
        ) {
            let spaced = tags.iter().zip(&blanks).map(|(tag, blank)| format!("{blank}{tag} {blank}"));
            let expression = spaced.collect::<Vec<_>>().join("||");
            let parsed = parse_tags(&expression);
            let mut expected: Vec<String> = Vec::new();
            for tag in &tags {
                // A bar at the edge of a tag is not one of a separator, as blanks are between them.
                if !expected.contains(tag) {
                    expected.push(tag.clone());
                }
            }
            prop_assert_eq!(&parsed, &Tags::Set(expected.clone()));
            prop_assert_eq!(parsed.matches(Some(&probe)), expected.contains(&probe));
            prop_assert_eq!(parse_tags(&expected.join(" || ")), parsed);
        }

        #[test]
        fn any_expression_is_understood(expression in "[ABé*| \\t]{0,20}|\\PC{0,20}") {
            match parse_tags(&expression) {
                Tags::All => prop_assert!(expression.split("||").all(|tag| matches!(tag.trim(), "" | "*"))),
                Tags::Set(tags) => {
                    prop_assert!(!tags.is_empty());
                    for (nth, tag) in tags.iter().enumerate() {
                        prop_assert!(!tag.is_empty() && tag.trim() == tag && !tag.contains("||"));
                        prop_assert!(expression.contains(tag.as_str()) && !tags[..nth].contains(tag));
                    }
                    // A star alone asks for all, a star among others is a tag.
                    let again = if tags == ["*"] { "||*".to_owned() } else { tags.join(" || ") };
                    prop_assert_eq!(parse_tags(&again), Tags::Set(tags));
                }
            }
        }
    }
}
