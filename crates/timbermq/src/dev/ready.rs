//! What a user can do once the local cluster runs.

use std::fmt::Write;

use crate::dev::state::DevState;

/// The port every client knows without being told.
const NAMESRV_DEFAULT: &str = "127.0.0.1:9876";

/// Snippets and next commands.
pub fn guide(state: &DevState, port: u16) -> String {
    let namesrv = &state.namesrv;
    let mut text = String::new();
    let mut block = |title: &str, body: &str| {
        write!(text, "\n{title}\n").expect("writing to a String cannot fail");
        for line in body.lines() {
            writeln!(text, "  {line}").expect("writing to a String cannot fail");
        }
    };
    block(
        "Java (org.apache.rocketmq:rocketmq-client)",
        &format!(
            "DefaultMQProducer producer = new DefaultMQProducer(\"demo-producer\");\n\
             producer.setNamesrvAddr(\"{namesrv}\");\n\
             producer.start();\n\
             System.out.println(producer.send(new Message(\"demo\", \"hello\".getBytes())));\n\
             producer.shutdown();"
        ),
    );
    block(
        "Python (pip install rocketmq)",
        &format!(
            "from rocketmq.client import Producer, Message\n\
             producer = Producer(\"demo-producer\"); producer.set_namesrv_addr(\"{namesrv}\"); producer.start()\n\
             message = Message(\"demo\"); message.set_body(\"hello\")\n\
             print(producer.send_sync(message).msg_id)\n\
             producer.shutdown()"
        ),
    );
    block(
        "Go (github.com/apache/rocketmq-client-go/v2)",
        &format!(
            "p, _ := rocketmq.NewProducer(producer.WithNameServer([]string{{\"{namesrv}\"}}))\n\
             _ = p.Start()\n\
             result, err := p.SendSync(context.Background(), primitive.NewMessage(\"demo\", []byte(\"hello\")))\n\
             fmt.Println(result, err)\n\
             _ = p.Shutdown()"
        ),
    );
    let (at, port) = if namesrv == NAMESRV_DEFAULT {
        (String::new(), String::new())
    } else {
        (format!(" --namesrv {namesrv}"), format!(" --port {port}"))
    };
    block(
        "Next, in another terminal",
        &format!(
            "timbermq message send demo hello --count 10{at}\n\
             timbermq message tail demo --from earliest{at}\n\
             timbermq cluster status{at}\n\
             timbermq dev kill leader{port}"
        ),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(namesrv: &str) -> DevState {
        DevState { supervisor: 1, namesrv: namesrv.into(), dir: "/d".into(), replicas: Vec::new() }
    }

    #[test]
    fn commands_name_the_address_only_when_it_is_not_the_default() {
        let usual = guide(&state(NAMESRV_DEFAULT), 9876);
        assert!(usual.contains("timbermq cluster status\n"), "{usual}");
        let other = guide(&state("127.0.0.1:7000"), 7000);
        assert!(other.contains("timbermq cluster status --namesrv 127.0.0.1:7000\n"), "{other}");
        assert!(other.contains("timbermq dev kill leader --port 7000\n"), "{other}");
        assert_eq!(other.matches("127.0.0.1:7000").count(), 6);
    }
}
