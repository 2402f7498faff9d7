//! The models of this build, and the additions and amendments of an overlay folder.
//!
//! A rebadged modem needs no build: `/etc/modemfleet/models.d/*.yaml` are read in the order of their names,
//! each on top of those before it. A file with one error changes nothing.

mod known;
pub mod lint;
mod overlay;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modem::Plugin;
use modem::catalog::CatalogError;
use serde_json::{Value, json};

use super::problem::{Problem, Report};
use super::problems::Problems;
use super::shown::Shown;
use super::source::Source;
use super::{read, refuse, text};
pub use known::{Models, Origin};

/// The default folder of overlay files.
pub const DEFAULT_FOLDER: &str = "/etc/modemfleet/models.d";

/// More files than any gateway needs; a folder of more is the wrong one.
const MAX_FILES: usize = 100;

/// The option that names the folder.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Folder {
    /// The folder with further models, `*.yaml` [default: /etc/modemfleet/models.d where it exists].
    #[arg(id = "models", long, value_name = "DIR", env = "MODEMFLEET_MODELS")]
    pub dir: Option<PathBuf>,
}

impl Folder {
    /// The overlay files in the order in which they count.
    ///
    /// # Errors
    /// [`ModelsError::Folder`] if a folder that was named, or is there, cannot be listed.
    pub fn files(&self) -> Result<Vec<PathBuf>, ModelsError> {
        let dir = self.dir.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER));
        if self.dir.is_none() && !dir.exists() {
            return Ok(Vec::new());
        }
        listed(dir).map_err(|source| ModelsError::Folder { dir: dir.to_owned(), source })
    }

    /// The models of this build with those of the folder.
    ///
    /// # Errors
    /// [`ModelsError`]: one wrong file refuses all, so that no model is missing in silence.
    pub fn load(&self, plugins: &[&Plugin]) -> Result<Models, ModelsError> {
        Library::new(plugins, self.clone())?.read()
    }
}

/// The `*.yaml` of a folder by name; hidden ones, such as an editor's, are none.
fn listed(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            let words =
                format!("the folder holds more than {MAX_FILES} files; is this the right folder?");
            return Err(io::Error::other(words));
        }
    }
    files.sort();
    Ok(files)
}

/// The models of this build, and the folder whose files are read again at each reload.
#[derive(Clone)]
pub struct Library {
    built_in: Models,
    folder: Folder,
}

impl Library {
    /// Reads nothing yet.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn new(plugins: &[&Plugin], folder: Folder) -> Result<Self, CatalogError> {
        Ok(Self { built_in: Models::built_in(plugins)?, folder })
    }

    /// The models as the folder has them now. Reads files: call it only if blocking is allowed.
    ///
    /// # Errors
    /// [`ModelsError`]: one wrong file refuses all, so that no model is missing in silence.
    pub fn read(&self) -> Result<Models, ModelsError> {
        let mut models = self.built_in.clone();
        let problems = models.read(&self.folder.files()?);
        if problems.is_empty() { Ok(models) } else { Err(ModelsError::Files(problems)) }
    }
}

/// Why there are no models.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// Those of the build are broken.
    #[error("the models of this build are broken")]
    BuiltIn(#[from] CatalogError),
    /// The folder cannot be listed.
    #[error("cannot read the folder of models {}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files of it are wrong; all that is wrong with each.
    #[error("{}", shown(.0))]
    Files(Vec<Problems>),
}

impl ModelsError {
    /// As programs read it: a list, in which each problem names its file.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Files(files) => json!(listed_problems(files)),
            Self::BuiltIn(_) | Self::Folder { .. } => json!([{
                "severity": "error",
                "message": modem::session::Chain(self).to_string(),
            }]),
        }
    }
}

/// The problems of some files, as programs read them, each with its file.
pub fn listed_problems(files: &[Problems]) -> Vec<Value> {
    let of_file = |problems: &Problems| {
        let file = problems.file().to_owned();
        let value = |problem: &Problem| {
            let mut value = problem.to_json();
            if let Some(object) = value.as_object_mut() {
                object.insert("file".to_owned(), json!(file));
            }
            value
        };
        problems.iter().map(value).collect::<Vec<Value>>()
    };
    files.iter().flat_map(of_file).collect()
}

fn shown(files: &[Problems]) -> String {
    files.iter().map(|problems| problems.render(false)).collect::<Vec<_>>().join("\n\n")
}

impl Models {
    /// Reads the files one after the other, and returns the problems of those that were refused.
    pub fn read(&mut self, files: &[PathBuf]) -> Vec<Problems> {
        let taken = files.iter().map(|file| self.read_one(file));
        taken.filter_map(Result::err).collect()
    }

    fn read_one(&mut self, file: &Path) -> Result<(), Problems> {
        let name = file.display().to_string();
        let bytes = regular(file).and_then(|()| read(file)).map_err(|error| {
            let message = format!("cannot read this file of models: {error}");
            refuse(&Source::new(&name, String::new()), 0, message, None)
        })?;
        self.amend(&name, bytes)
    }

    /// Takes the content of one file in.
    ///
    /// # Errors
    /// All that is wrong with it; then nothing of it is taken.
    pub fn amend(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), Problems> {
        let source = text(name, bytes)?;
        let mut report = Report::default();
        let mut amended = self.clone();
        let root = overlay::take(&source, &mut amended, &mut report);
        if report.has_errors() {
            let shown = || root.map_or(Shown::Keys, |root| overlay::shown(&root, &source));
            return Err(Problems::of(report, &source, shown));
        }
        *self = amended;
        Ok(())
    }
}

/// A pipe or a device would block its reader.
fn regular(file: &Path) -> io::Result<()> {
    if fs::metadata(file)?.is_file() {
        return Ok(());
    }
    Err(io::Error::other("not a regular file"))
}

#[cfg(test)]
mod tests;
