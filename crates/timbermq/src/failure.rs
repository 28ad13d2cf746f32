//! How a command ends when it does not end well.

use std::process::ExitCode;

use timbermq_config::ConfigError;

/// Why a command failed. Each kind has its exit code.
#[derive(Debug)]
pub enum Failure {
    /// The command ran and did not succeed: exit code 1.
    Failed(anyhow::Error),
    /// The command line or the configuration is wrong: exit code 2.
    Usage(String),
    /// A running server had to stop, because to go on would be unsafe: exit code 3.
    Fatal(String),
    /// The reader of stdout went away, which is its right: exit code 0.
    OutputClosed,
}

impl Failure {
    /// Tells the user on stderr, and the caller by exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Failed(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(1)
            }
            Failure::Usage(text) => {
                eprintln!("error: {text}");
                ExitCode::from(2)
            }
            Failure::Fatal(text) => {
                eprintln!("fatal: {text}");
                ExitCode::from(3)
            }
            Failure::OutputClosed => ExitCode::SUCCESS,
        }
    }

    /// A failure with this text.
    pub fn failed(text: impl Into<String>) -> Self {
        Failure::Failed(anyhow::Error::msg(text.into()))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Failed(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}
