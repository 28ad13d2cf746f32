use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn reads_with_and_without_the_last_separator() {
    for text in ["KEYS\u{1}a b\u{2}TAGS\u{1}t\u{2}", "KEYS\u{1}a b\u{2}TAGS\u{1}t"] {
        let properties = Properties::new(text);
        assert_eq!(properties.tag(), Some("t"));
        assert_eq!(properties.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(properties.get("KEY"), None);
        assert_eq!(properties.unique_key(), None);
        assert_eq!(properties.iter().count(), 2);
    }
}

#[test]
fn drops_items_without_name_or_value() {
    let properties =
        Properties::new("\u{2}a\u{2}\u{1}v\u{2}n\u{1}\u{2}ab\u{2}x\u{1}1\u{1}2\u{2}x\u{1}3\u{2}y\u{1}4\u{1}5");
    assert_eq!(properties.iter().collect::<Vec<_>>(), [("x", "1\u{1}2"), ("x", "3"), ("y", "4\u{1}5")]);
    assert_eq!(properties.get("x"), Some("3"), "the last counts");
    assert_eq!(Properties::new("UNIQ_KEY\u{1}7\u{2}").unique_key(), Some("7"));
    assert_eq!(properties.get("n"), None);
    assert_eq!(properties.get(""), None);
}

#[test]
fn appending_adds_the_separator_a_client_left_out() {
    for client in ["", "a\u{1}1", "a\u{1}1\u{2}"] {
        let mut text = client.to_owned();
        append(&mut text, "CLUSTER", "c").unwrap();
        assert!(text.ends_with("CLUSTER\u{1}c\u{2}"));
        assert_eq!(Properties::new(&text).get("a").is_some(), !client.is_empty());
        assert_eq!(Properties::new(&text).get("CLUSTER"), Some("c"));
        assert!(!text.contains("\u{2}\u{2}"));
    }
}

#[test]
fn refuses_separators_and_emptiness() {
    let mut text = "a\u{1}1".to_owned();
    for name in ["", "a\u{1}", "\u{2}"] {
        assert_eq!(append(&mut text, name, "v"), Err(PropertyError::Name));
    }
    for value in ["", "\u{1}", "v\u{2}"] {
        assert_eq!(set(&mut text, "a", value), Err(PropertyError::Value { name: "a".to_owned() }));
    }
    assert_eq!(text, "a\u{1}1");
}

#[test]
fn removing_leaves_other_items_as_they_are() {
    let mut text = "a\u{1}1\u{2}broken\u{2}b\u{1}2\u{2}a\u{1}3".to_owned();
    assert!(remove(&mut text, "a"));
    assert_eq!(text, "broken\u{2}b\u{1}2\u{2}");
    assert!(!remove(&mut text, "a"));
    assert!(!remove(&mut text, "broken"), "an item without a separator has no name");
}

#[test]
fn a_hundred_thousand_properties_do_not_fit() {
    let names: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let result = encode(names.iter().map(|name| (name.as_str(), "v")));
    assert!(matches!(result, Err(PropertyError::TooLong { max: 32_767, .. })));
    // Reading such a text needs no memory at all.
    let text: String = names.iter().map(|name| format!("{name}\u{1}v\u{2}")).collect();
    assert_eq!(Properties::new(&text).iter().count(), 100_000);
    assert!(check_len(&text).is_err());
}

#[test]
fn limit_is_inclusive() {
    assert_eq!(check_len(&"x".repeat(32_767)), Ok(()));
    assert_eq!(check_len(&"x".repeat(32_768)), Err(PropertyError::TooLong { size: 32_768, max: 32_767 }));
}

proptest! {
    #[test]
    fn round_trip(model in prop::collection::btree_map("[a-zA-Z0-9_#.é]{1,12}", "[^\u{1}\u{2}]{1,12}", 0..12)) {
        let text = encode(model.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap();
        let read: BTreeMap<String, String> =
            Properties::new(&text).iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(&read, &model);
        for (name, value) in &model {
            prop_assert_eq!(Properties::new(&text).get(name), Some(value.as_str()));
        }
    }

    #[test]
    fn set_and_remove_behave_as_a_map(operations in prop::collection::vec(("[a-c]", prop::option::of("[x-z]{1,3}")), 0..20)) {
        let mut text = String::new();
        let mut model = BTreeMap::new();
        for (name, value) in operations {
            match value {
                Some(value) => {
                    set(&mut text, &name, &value).unwrap();
                    model.insert(name, value);
                }
                None => prop_assert_eq!(remove(&mut text, &name), model.remove(&name).is_some()),
            }
        }
        let read: BTreeMap<String, String> =
            Properties::new(&text).iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(Properties::new(&text).iter().count(), model.len());
        prop_assert_eq!(read, model);
    }

    #[test]
    fn any_text_is_answered(text in "[a\u{1}\u{2} é]{0,30}", name in "[a\u{1}]{0,2}") {
        let properties = Properties::new(&text);
        let last = properties.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value);
        prop_assert_eq!(properties.get(&name), last);
        let mut changed = text.clone();
        remove(&mut changed, &name);
        prop_assert_eq!(Properties::new(&changed).get(&name), None);
        prop_assert!(properties.iter().filter(|(found, _)| *found != name).eq(Properties::new(&changed).iter()));
    }
}
