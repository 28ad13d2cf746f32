//! A history as EDN, for tools that read Jepsen's: each operation as its invocation and its completion, in the order of time.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::Value;
use timbermq_check::history::{History, NEVER, Outcome};

/// Writes a history.
///
/// # Errors
/// The writer's.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    // Jepsen numbers its processes.
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (index, operation) in history.operations().iter().enumerate() {
        let next = numbers.len();
        numbers.entry(history.text(operation.process)).or_insert(next);
        events.push((operation.invoke, index, false));
        if operation.returned != NEVER {
            events.push((operation.returned, index, true));
        }
    }
    events.sort_unstable();
    for (index, (at, of, is_end)) in events.into_iter().enumerate() {
        let Some(operation) = history.named(of) else { continue };
        let kind = match (is_end, operation.outcome) {
            (false, _) => "invoke",
            (true, Outcome::Ok) => "ok",
            (true, Outcome::Fail) => "fail",
            (true, Outcome::Unknown) => "info",
        };
        let process = numbers.get(operation.process).copied().unwrap_or_default();
        let action = serde_json::to_value(&operation.action)?;
        let (name, fields) = match action.as_object().and_then(|action| action.iter().next()) {
            Some((name, fields)) if is_end => (keyword(name), value(fields)),
            Some((name, fields)) => (keyword(name), value(&asked(name, fields))),
            None => (keyword("unknown"), "nil".to_owned()),
        };
        write!(
            out,
            "{{:index {index}, :time {}, :process {process}, :client {}, ",
            at * 1_000,
            string(operation.process)
        )?;
        if let Some(node) = operation.node {
            write!(out, ":node {}, ", string(node))?;
        }
        writeln!(out, ":type :{kind}, :f {name}, :value {fields}}}")?;
    }
    Ok(())
}

/// What is known of an operation before its answer.
fn asked(action: &str, fields: &Value) -> Value {
    let answers: &[&str] = match action {
        "send" | "bound" | "search_time" | "query_offset" => &["offset"],
        "pull" => &["status", "messages", "next", "bounds"],
        "drain" => &["messages", "min", "max", "to"],
        "query_id" | "query_key" => &["found"],
        "lock" => &["granted", "until"],
        "get_config" => &["value"],
        _ => &[],
    };
    let mut fields = fields.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|name, _| !answers.contains(&name.as_str()));
    }
    fields
}

/// A name as a keyword.
fn keyword(name: &str) -> String {
    format!(":{}", name.replace('_', "-"))
}

fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A value of JSON as one of EDN: names of fields become keywords.
fn value(json: &Value) -> String {
    match json {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => json.to_string(),
        Value::String(text) => string(text),
        Value::Array(items) => format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| format!("{} {}", keyword(name), value(field)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use timbermq_check::history::{Action, MessageId, Operation};

    use super::*;

    #[test]
    fn an_operation_is_its_invocation_and_its_completion() {
        let mut history = History::new();
        let send = |seq, offset| {
            let message = MessageId { producer: "p", seq, attempt: 0 };
            Action::send("orders", Some(0), message, offset)
        };
        history.push_named(Operation::new("p", 10, 30, send(0, Some(7))));
        let unknown = Operation { outcome: Outcome::Unknown, ..Operation::new("q", 20, NEVER, send(1, None)) };
        history.push_named(unknown);
        let mut out = Vec::new();
        write(&history, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "what never came back has no completion: {text}");
        assert_eq!(
            lines[2],
            "{:index 2, :time 30000, :process 0, :client \"p\", :type :ok, :f :send, :value {:topic \"orders\", :queue 0, \
             :message {:producer \"p\", :seq 0}, :offset 7}}"
        );
        assert!(
            lines[0].contains(":type :invoke") && !lines[0].contains(":offset"),
            "nobody knows the offset yet: {text}"
        );
        assert!(lines[1].contains(":process 1") && lines[1].contains(":type :invoke"), "{text}");
    }

    #[test]
    fn strings_and_structures_are_escaped() {
        let json = serde_json::json!({"a_b": [1, null, true, "q\"\\\n"]});
        assert_eq!(value(&json), "{:a-b [1 nil true \"q\\\"\\\\\\n\"]}");
    }
}
