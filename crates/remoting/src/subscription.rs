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
}
