//! The known models, and the origin of each.

use std::collections::BTreeMap;

use modem::catalog::{CatalogError, Model};
use modem::{Catalog, Plugin};

/// A line of an overlay file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file's name as it was given.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// True if the entry is one of the build, changed by the file.
    pub amends: bool,
}

/// All models, and the origins of those that are not, or not wholly, of this build.
#[derive(Clone)]
pub struct Models {
    /// The models with their profiles.
    pub catalog: Catalog,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) built_in: Vec<String>,
}

impl Models {
    /// Those of this build.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn built_in(plugins: &[&Plugin]) -> Result<Self, CatalogError> {
        let catalog = Catalog::new(plugins)?;
        let built_in = catalog.models().map(|model| model.id.clone()).collect();
        Ok(Self { catalog, origins: BTreeMap::new(), built_in })
    }

    /// The origin of an entry; `None` for an unchanged entry of this build.
    pub fn origin(&self, id: &str) -> Option<&Origin> {
        self.origins.get(id)
    }

    /// The origin of an entry, in words.
    pub fn origin_words(&self, id: &str) -> String {
        match self.origin(id) {
            None => "built in".to_owned(),
            Some(Origin { file, line, amends: false }) => format!("{file}:{line}"),
            Some(Origin { file, line, amends: true }) => {
                format!("built in, amended by {file}:{line}")
            }
        }
    }

    /// The models of this build that a modem of this model speaks like: itself, then those with its profile.
    pub fn siblings(&self, model: &Model) -> impl Iterator<Item = &str> {
        let like =
            |id: &&String| self.catalog.model(id).is_some_and(|m| m.profile == model.profile);
        let own = self.built_in.iter().filter(|id| **id == model.id);
        own.chain(self.built_in.iter().filter(like)).map(String::as_str)
    }
}
