//! Plans: changes that a reload of another fleet file would make, worked out beside everything else.
//!
//! Anybody who may use the API may send any file. One is judged at a time, on a thread of its own: no reload waits for
//! it, and it ends early once nobody waits for the answer.

use std::path::PathBuf;
use std::sync::Arc;

use modem::{Catalog, State};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Contents, Line, Plan, Refused};
use crate::now::{ModemView, Now, View};
use fleet::models::Library;
use fleet::{Context, Secrets};

/// Files that are judged at the same time: each takes up to 64 MB of memory and a second of the processor.
const AT_ONCE: usize = 1;

/// A fleet file that somebody sent.
#[derive(Debug)]
pub struct Sent {
    /// Its name, for messages.
    pub name: String,
    /// The folder that relative paths in it begin at.
    pub folder: PathBuf,
    /// Its content.
    pub text: Vec<u8>,
}

/// Makes plans for files that somebody sent.
#[derive(Clone)]
pub struct Planner {
    view: View,
    gateway: Option<String>,
    library: Library,
    catalog: watch::Receiver<Arc<Catalog>>,
    contents: watch::Receiver<Contents>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Planner {
    /// One that compares with what `view` shows, until `stop`.
    pub fn new(
        view: View,
        gateway: Option<String>,
        library: Library,
        catalog: watch::Receiver<Arc<Catalog>>,
        contents: watch::Receiver<Contents>,
        stop: CancellationToken,
    ) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { view, gateway, library, catalog, contents, places, stop }
    }

    /// Returns what a reload of this file would change. Of its secrets only those are read that the running fleet
    /// reads too: who may ask this must not learn what else lies on the gateway.
    ///
    /// # Errors
    /// [`Refused`]; [`Refused::Planning`] while another file is judged.
    ///
    /// # Cancel safety
    /// The judging ends soon after.
    pub async fn plan(&self, sent: Sent) -> Result<Vec<Line>, Refused> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_none_left| Refused::Planning)?;
        let stop = self.stop.child_token();
        let _ends_it = stop.clone().drop_guard();
        let (planner, (answer, done)) = (self.clone(), oneshot::channel());
        // A thread of its own: what it used goes back to the system with it, or to the next one.
        let thread = std::thread::Builder::new().name("plan".to_owned()).spawn(move || {
            let lines = planner.judge(sent, stop);
            drop(place);
            drop(answer.send(lines));
        });
        thread.map_err(|_no_more_threads| Refused::Thread)?;
        done.await.unwrap_or(Err(Refused::Thread))
    }

    fn judge(&self, sent: Sent, stop: CancellationToken) -> Result<Vec<Line>, Refused> {
        let Sent { name, folder, text } = sent;
        let context = Context::named(&folder, Secrets::Skip, self.gateway.clone());
        let catalog = self.library.read().map(|models| models.catalog);
        let context = knowing(Context { folder, stop: stop.clone(), ..context }, &catalog);
        let loaded = fleet::parse(&name, text, &context);
        if stop.is_cancelled() {
            return Err(Refused::Ending);
        }
        let (fleet, catalog) = (loaded.map_err(Refused::File)?.fleet, catalog?);
        let now = self.view.now();
        let (applied, contents) = (self.contents.borrow().clone(), Contents::of(&now.fleet));
        let is_rotated = |secret: &_| applied.differ(&contents, secret);
        let mut plan = Plan::new(&now.fleet, &fleet, is_rotated);
        let known = Arc::clone(&self.catalog.borrow());
        learn(&mut plan, &now, &known, &catalog);
        Ok(plan.lines())
    }
}

/// With what these models can do. Where they are wrong the fleet file is judged without.
pub(crate) fn knowing<E>(context: Context, catalog: &Result<Catalog, E>) -> Context {
    match catalog {
        Ok(catalog) => context.with_models(catalog),
        Err(_) => context,
    }
}

/// Adds to a plan what other models mean for modems that run: those whose entry is another one begin
/// anew, and those that could not be used. True where the models are others.
pub(crate) fn learn(plan: &mut Plan, now: &Now, known: &Catalog, catalog: &Catalog) -> bool {
    if known.models().eq(catalog.models()) {
        return false;
    }
    let begins_anew = |modem: &&ModemView| {
        let snapshot = modem.snapshot.borrow();
        let entry = |catalog: &Catalog, cgmm| Some(catalog.identify(cgmm)?.0.clone());
        snapshot.identified.as_ref().map_or(snapshot.state == State::Failed, |is| {
            entry(known, &is.model) != entry(catalog, &is.model)
        })
    };
    let anew = now.modems.iter().filter(begins_anew).map(|modem| modem.name.clone());
    plan.learn(&anew.collect());
    true
}
