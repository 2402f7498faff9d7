//! Plans: the changes of a reload of another fleet file, compared on a thread of their own.
//!
//! Every caller of the API may send any file. One file is compared at a time, on its own thread: no reload waits for
//! the comparison, which ends early if its caller leaves.

use std::path::PathBuf;
use std::sync::Arc;

use modem::{Catalog, State};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{Contents, Line, Plan, Refused};
use crate::now::{ModemView, Now, View};
use fleet::models::Library;
use fleet::{Context, Secrets};

/// Files that are compared at the same time: each takes up to 64 MB of memory and a second of the processor.
const AT_ONCE: usize = 1;

/// A fleet file in a request.
#[derive(Debug)]
pub struct Sent {
    /// Its name, for messages.
    pub name: String,
    /// The folder that relative paths in it begin at.
    pub folder: PathBuf,
    /// Its content.
    pub text: Vec<u8>,
}

/// Makes plans for files in requests.
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
    /// reads too: a caller must not learn about other files of the gateway.
    ///
    /// # Errors
    /// [`Refused`]; [`Refused::Planning`] while another file is compared.
    ///
    /// # Cancel safety
    /// The comparison ends soon after.
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

/// The context with the abilities of these models. If they are wrong, the fleet file is checked without them.
pub(crate) fn knowing<E>(context: Context, catalog: &Result<Catalog, E>) -> Context {
    match catalog {
        Ok(catalog) => context.with_models(catalog),
        Err(_) => context,
    }
}

/// Adds the effect of other models to a plan: running modems with another entry restart,
/// and so do modems that could not be used. Returns true if the models differ.
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
