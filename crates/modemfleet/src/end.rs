//! Exit codes of the program.

use std::io;
use std::process::ExitCode;

use fleet::models::ModelsError;
use fleet::printable::complain;

/// Returns the exit code if the output could not be written. A closed pipe is not a failure.
pub(crate) fn output_failed(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    complain(&format!("could not write: {error}"));
    ExitCode::FAILURE
}

/// Returns the exit code for a wrong configuration or wrong usage.
pub(crate) fn wrong() -> ExitCode {
    ExitCode::from(api::client::WRONG)
}

/// Returns the exit code if the models could not be loaded.
pub(crate) fn code_of(error: &ModelsError) -> ExitCode {
    match error {
        ModelsError::BuiltIn(_) => ExitCode::FAILURE,
        ModelsError::Folder { .. } | ModelsError::Files(_) => wrong(),
    }
}
