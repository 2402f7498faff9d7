//! A file of models (`models.d`): with any content, it is taken or rejected in memory and time in
//! proportion to its size.

use std::sync::OnceLock;

use fleet::models::{Models, lint};
use modemfleet::profiles;

use crate::cost::{LARGE, within_memory, within_time};
use crate::input::Growing;

/// Puts a file on top of this build's models. A part between two bytes 0x01 is repeated, as in a
/// fleet file.
pub fn run(input: &[u8]) {
    let Some(growing) = Growing::of(input) else {
        return within_memory(input.len(), || judge(input.to_vec()));
    };
    within_memory(LARGE, || judge(growing.to(LARGE)));
    within_time(|size| growing.to(size), judge);
}

fn judge(text: Vec<u8>) {
    let mut models = built_in().clone();
    match models.amend("overlay.yaml", text) {
        Ok(()) => {
            drop(lint::lint(&models));
            drop(profiles::list(&models, true, &mut std::io::sink()));
        }
        Err(problems) => drop(problems.render(false)),
    }
}

fn built_in() -> &'static Models {
    static MODELS: OnceLock<Models> = OnceLock::new();
    let plugins = [&profile_simcom::PLUGIN, &profile_quectel::PLUGIN];
    MODELS.get_or_init(|| Models::built_in(&plugins).expect("the models of this build"))
}
