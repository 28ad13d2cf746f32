//! One table of configuration keys and everything that is generated from it.
//!
//! A key is declared once, in [`table`], with its type, default, bounds, scope, legacy spelling and a sentence. Reading
//! TOML, environment variables and flags, the origin of each value, suggestions for misspelt keys, the reference page
//! and `config show` all come from that table. Nothing here reads a file or the environment: the binary hands the text in.

mod address;
mod key;
mod layers;
mod namesrv;
mod server;
pub mod table;
mod value;

pub use address::{AddressError, Member};
pub use key::{Key, Kind, Role, Scope};
pub use layers::{ConfigError, Layers, Origin, Setting, env_name};
pub use namesrv::NamesrvSettings;
pub use server::ServerSettings;
pub use value::{Value, ValueError};
