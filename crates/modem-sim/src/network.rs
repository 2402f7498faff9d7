//! The network from the modem's view: radio, coverage, attachment and PDP contexts.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use crate::{
    command::Arg,
    options::{Coverage, Radio},
    reply::Reply,
};

/// A PDP context as in `CGDCONT`.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) kind: String,
    pub(crate) apn: String,
    pub(crate) active: bool,
    pub(crate) login: Option<Login>,
}

/// The login that `CGAUTH` has set for a context: 1 PAP, 2 CHAP, 3 either.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) kind: u32,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The reports that are on; a loss of power turns them off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    pub(crate) creg: u32,
    pub(crate) cgreg: u32,
    pub(crate) cereg: u32,
    pub(crate) c5greg: u32,
    pub(crate) cnsmod: u32,
    pub(crate) autocsq: (u32, u32),
    pub(crate) cpsi: Option<(Duration, Instant)>,
}

/// The network from the modem's view, and the modem's state about it.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) radio: Radio,
    /// The presence of a network, and its connection to the broker.
    pub(crate) coverage: Coverage,
    /// True if the modem is attached for data: `CGATT`.
    attached: bool,
    /// The access point of the first context when the modem attached. A later value waits for the next attach,
    /// since the network's answer to the attach gives the bearer (24.301 §6.5.1).
    in_force: String,
    pub(crate) contexts: BTreeMap<u32, Context>,
    pub(crate) mode: u32,
    pub(crate) catr: u32,
    pub(crate) reports: Reports,
}

impl Network {
    pub(crate) fn new(radio: Radio) -> Self {
        let context = |kind: &str, apn: &str, active| Context {
            kind: kind.to_owned(),
            apn: apn.to_owned(),
            active,
            login: None,
        };
        let contexts =
            [(1, context("IP", "cmnet", true)), (2, context("IPV4V6", "ims", true))].into();
        let reports = Reports::default();
        let coverage = Coverage::Full;
        let mut network = Self {
            radio,
            coverage,
            attached: false,
            in_force: String::new(),
            contexts,
            mode: 2,
            catr: 0,
            reports,
        };
        network.attach();
        network
    }

    /// Resets the reports. Contexts, mode and URC port are in flash and stay.
    pub(crate) fn power_off(&mut self) {
        self.reports = Reports::default();
        self.attach();
    }

    /// Attaches for data, as the modem does by itself once its radio is on.
    pub(crate) fn attach(&mut self) {
        self.attached = true;
        self.in_force = self.contexts.get(&1).map_or_else(String::new, |first| first.apn.clone());
    }

    /// Detaches from data.
    pub(crate) fn detach(&mut self) {
        self.attached = false;
    }

    /// Reports whether the modem is attached for data.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    /// Reports whether the network has data at the access point in force. Names of access points ignore case
    /// (23.003 §9.1).
    pub(crate) fn is_at_its_access_point(&self) -> bool {
        self.radio.apn.as_ref().is_none_or(|apn| apn.eq_ignore_ascii_case(&self.in_force))
    }

    /// Reports whether URCs reach a port. `CATR`: 0 all ports, 1 UART, 2 MODEM, 3 ATCOM (SIM7600 manual p.68).
    /// The first port is ATCOM, the second MODEM.
    pub(crate) fn urcs_reach(&self, port: usize) -> bool {
        match self.catr {
            0 => true,
            2 => port == 1,
            3 => port == 0,
            _ => false,
        }
    }

    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.reports.cpsi.map(|(_, due)| due)
    }

    pub(crate) fn dump(&self) -> String {
        let Reports { creg, cgreg, cereg, cnsmod, autocsq: (csq, change), .. } = self.reports;
        format!(
            "+CREG: {creg}; +CGREG: {cgreg}; +CEREG: {cereg}; +CATR: {}; +CNMP: {}; \
             +CNSMOD: {cnsmod}; +AUTOCSQ: {csq},{change};",
            self.catr, self.mode
        )
    }

    /// Returns the lines of the contexts. `operator` is the unit's suffix to the name of an access point that
    /// is up.
    pub(crate) fn context_lines(&self, operator: &str) -> Vec<String> {
        let line = |(cid, context): (&u32, &Context)| {
            let operator = if context.active && !context.apn.is_empty() { operator } else { "" };
            let address =
                if context.kind == "IP" { "0.0.0.0" } else { "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0" };
            let Context { kind, apn, .. } = context;
            format!("+CGDCONT: {cid},\"{kind}\",\"{apn}{operator}\",\"{address}\",0,0,0,0")
        };
        self.contexts.iter().map(line).collect()
    }

    pub(crate) fn define(&mut self, args: &[Arg]) -> Reply {
        let cid = args.first().and_then(|cid| cid.within(1..=24).or_else(|| cid.within(100..=179)));
        match (cid, args) {
            (Some(cid), [_]) => {
                self.contexts.remove(&cid);
                Reply::ok()
            }
            (Some(cid), [_, kind, rest @ ..]) => {
                let known = ["IP", "IPV6", "IPV4V6", "PPP"];
                let Some(kind) = kind.text().filter(|kind| known.contains(kind)) else {
                    return Reply::error();
                };
                let apn = rest.first().map_or("", Arg::value).to_owned();
                let old = self.contexts.get(&cid);
                let active = old.is_some_and(|old| old.active);
                let login = old.and_then(|old| old.login.clone());
                self.contexts.insert(cid, Context { kind: kind.to_owned(), apn, active, login });
                Reply::ok()
            }
            _ => Reply::error(),
        }
    }

    pub(crate) fn activate(&mut self, args: &[Arg]) -> Reply {
        let Some(state) = args.first().and_then(|state| state.within(0..=1)) else {
            return Reply::error();
        };
        let wanted: Vec<u32> = args.iter().skip(1).filter_map(Arg::number).collect();
        if wanted.iter().any(|cid| !self.contexts.contains_key(cid)) {
            return Reply::error();
        }
        for (cid, context) in &mut self.contexts {
            if wanted.is_empty() || wanted.contains(cid) {
                context.active = state == 1;
            }
        }
        Reply::ok()
    }
}
