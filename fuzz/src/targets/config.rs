//! Configuration.

use timbermq_config::{Layers, NamesrvSettings, Role, ServerSettings, Value, table};

use super::input::Input;

/// The first byte picks the role, the next two how long the TOML text is; then come lines, `key=value` as of `--set` and
/// `$NAME=value` as of the environment.
pub(super) fn layers(input: &[u8]) {
    let mut input = Input::new(input);
    let role = [Role::Server, Role::Namesrv, Role::Any][input.below(3)];
    let toml = String::from_utf8_lossy(input.long()).into_owned();
    let lines = String::from_utf8_lossy(input.rest()).into_owned();

    let mut layers = Layers::defaults(role);
    let _ = layers.file("fuzz.toml", &toml);
    for line in lines.split('\n') {
        let Some((name, value)) = line.split_once('=') else { continue };
        let _ = match name.strip_prefix('$') {
            Some(name) => layers.env(std::iter::once((name.to_owned(), value.to_owned()))),
            None => layers.flag(name, value),
        };
    }
    let mut again = Layers::defaults(role);
    for (key, setting) in layers.all() {
        let Some(setting) = setting else { continue };
        let shown = setting.value.to_string();
        // What `config show` prints can be set: it is the same value.
        again.flag(key.name, &shown).unwrap_or_else(|error| panic!("{error}, but it is set as that"));
        assert_eq!(again.get(key.name).map(|setting| &setting.value), Some(&setting.value), "{} = {shown}", key.name);
    }
    if role != Role::Namesrv {
        let settings = ServerSettings::from_layers(&layers);
        let settings_again = ServerSettings::from_layers(&again);
        assert_eq!(format!("{settings:?}"), format!("{settings_again:?}"));
        if let Ok(settings) = settings {
            assert_eq!(settings.me().node, settings.node);
        }
    }
    if role != Role::Server {
        let _ = NamesrvSettings::from_layers(&layers);
    }
    // Every kind of value, from the last line.
    let text = lines.rsplit('\n').next().unwrap_or_default();
    for key in table::KEYS {
        if let Ok(value) = Value::parse(&key.kind, text) {
            let shown = value.to_string();
            assert_eq!(
                Value::parse(&key.kind, &shown).as_ref(),
                Ok(&value),
                "{}: {text:?} shown as {shown:?}",
                key.name
            );
        }
    }
}
