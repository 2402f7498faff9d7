//! A fleet file: with any content, it is judged in time and memory in proportion to its size.

use std::sync::OnceLock;

use fleet::models::Models;
use fleet::{Context, Secrets};

use crate::cost::{LARGE, within_memory, within_time};
use crate::input::Growing;

/// Judges a text as `check`, `run` and the reload's plan do. A part between two bytes 0x01 is
/// repeated until the text has a quarter of the largest size of a fleet file.
pub fn run(input: &[u8]) {
    let Some(growing) = Growing::of(input) else {
        return within_memory(input.len(), || judge(input.to_vec()));
    };
    within_memory(LARGE, || judge(growing.to(LARGE)));
    within_time(|size| growing.to(size), judge);
}

fn judge(text: Vec<u8>) {
    match fleet::parse("fleet.yaml", text, context()) {
        Ok(loaded) => drop(loaded.warnings.render(false)),
        Err(problems) => drop(problems.render(false)),
    }
}

/// Returns a context with the models of this repository; files that the text names are not read.
fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let models = Models::built_in(&[&profile_simcom::PLUGIN, &profile_quectel::PLUGIN]);
        let context = Context {
            folder: "/nonexistent".into(),
            gateway: Some("gw-1".to_owned()),
            secrets: Secrets::Skip,
            ..Context::default()
        };
        context.with_models(&models.expect("the models of this build").catalog)
    })
}
