//! Errors that end the console early.

use std::io;

use api::client::{ClientError, TargetError};
use modem::console::Refusal;
use modem::probe::ProbeError;

/// The reason why the console ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AtError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{command}: not sent")]
    Refused {
        /// The command, with secrets replaced.
        command: String,
        #[source]
        refusal: Refusal,
    },
    #[error(transparent)]
    Port(#[from] ProbeError),
    #[error("the server there is not a modemfleet agent, or has another version")]
    Strange,
    #[error("the models of this build are broken")]
    Catalog(#[from] modem::catalog::CatalogError),
    #[error("`--data` needs a single command, but several were given")]
    DataOfMany,
    #[error("could not read {from}")]
    Input {
        /// The source of the input.
        from: String,
        source: io::Error,
    },
    #[error("line {number} of the script needs {length} bytes of data, but fewer follow")]
    ShortScript {
        /// The line's number, counted from 1.
        number: u64,
        /// The length of data that the line announces.
        length: usize,
    },
    #[error("the terminal's line editor failed")]
    Editor(#[from] rustyline::error::ReadlineError),
    #[error(transparent)]
    Output(#[from] io::Error),
}
