//! `cargo xtask dashboards`: Grafana's two dashboards, made from a list of panels.
//!
//! A dashboard by hand is a thousand lines, of which twelve matter: the expressions. They are in
//! [`panels`]; this file adds the rest of Grafana's format.

mod panels;

use std::fs;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::step::root;
use panels::{Dashboard, Kind, Panel};

/// Arguments of `dashboards`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail if a dashboard differs from the list of panels.
    #[arg(long)]
    check: bool,
}

/// The number of columns in Grafana's grid.
const COLUMNS: u32 = 24;

/// Writes the dashboards, or checks them.
///
/// # Errors
/// If a file cannot be read or written, or differs in a check.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    for dashboard in panels::DASHBOARDS {
        let name = format!("deploy/grafana/dashboards/{}.json", dashboard.uid);
        let path = root().join(&name);
        let wanted = serde_json::to_string_pretty(&json(dashboard))? + "\n";
        if arguments.check {
            let is = fs::read_to_string(&path).unwrap_or_default();
            ensure!(is == wanted, "{name} is old: run `cargo xtask dashboards`");
        } else {
            fs::write(&path, wanted).with_context(|| format!("cannot write {name}"))?;
        }
    }
    Ok(())
}

/// Returns every expression, with its dashboard and its panel.
pub(crate) fn expressions() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    panels::DASHBOARDS.iter().flat_map(|dashboard| {
        let panels = dashboard.panels.iter();
        panels.flat_map(|panel| {
            panel.queries.iter().map(|query| (dashboard.title, panel.title, query.expr))
        })
    })
}

/// Returns the JSON model of a dashboard (Grafana's "JSON model", schema version 39).
fn json(dashboard: &Dashboard) -> Value {
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["modemfleet"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": { "from": "now-6h", "to": "now" },
        "timezone": "browser",
        "links": [{
            "type": "dashboards", "title": "modemfleet", "tags": ["modemfleet"], "asDropdown": false,
            "icon": "external link", "includeVars": true, "keepTime": true, "targetBlank": false,
            "tooltip": "", "url": ""
        }],
        "templating": { "list": variables(dashboard) },
        "panels": laid_out(dashboard.panels),
    })
}

fn variables(dashboard: &Dashboard) -> Vec<Value> {
    let datasource = json!({
        "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source",
        "hide": 0, "multi": false, "includeAll": false, "refresh": 1
    });
    let queries = dashboard.variables.iter().map(|variable| {
        json!({
            "name": variable.name,
            "type": "query",
            "label": variable.label,
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "query": { "qryType": 1, "query": variable.query, "refId": variable.name },
            "multi": variable.multi,
            "includeAll": variable.multi,
            "allValue": if variable.multi { json!(".*") } else { Value::Null },
            "refresh": 2,
            "sort": 1,
            "hide": 0
        })
    });
    std::iter::once(datasource).chain(queries).collect()
}

/// Lays panels out from left to right, in rows of the grid.
fn laid_out(panels: &[Panel]) -> Vec<Value> {
    let (mut x, mut y, mut tallest) = (0, 0, 0);
    let mut placed = Vec::new();
    for (id, panel) in (1_u32..).zip(panels) {
        if x + panel.width > COLUMNS {
            (x, y, tallest) = (0, y + tallest, 0);
        }
        let place = json!({ "x": x, "y": y, "w": panel.width, "h": panel.height });
        placed.push(panel_json(id, panel, &place));
        x += panel.width;
        tallest = tallest.max(panel.height);
    }
    placed
}

fn panel_json(id: u32, panel: &Panel, place: &Value) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let letters = 'A'..='Z';
    let targets: Vec<Value> = letters
        .zip(panel.queries)
        .map(|(letter, query)| {
            json!({
                "refId": letter.to_string(),
                "datasource": source,
                "expr": query.expr,
                "legendFormat": query.legend,
                "format": panel.kind.format(),
                "instant": panel.kind.is_instant(),
                "range": !panel.kind.is_instant(),
            })
        })
        .collect();
    json!({
        "id": id,
        "type": panel.kind.word(),
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "mappings": panel.kind.mappings(),
                "thresholds": panel.kind.thresholds(),
                "color": { "mode": panel.kind.colour() },
                "custom": panel.kind.custom(),
            },
            "overrides": []
        },
        "options": panel.kind.options(),
        "transformations": panel.kind.transformations(),
    })
}

impl Kind {
    /// Returns Grafana's name of the panel's type.
    fn word(self) -> &'static str {
        match self {
            Self::Lines => "timeseries",
            Self::Number | Self::Alarm => "stat",
            Self::States => "state-timeline",
            Self::Heat => "heatmap",
            Self::Table => "table",
        }
    }

    fn is_instant(self) -> bool {
        matches!(self, Self::Number | Self::Alarm | Self::Table)
    }

    fn format(self) -> &'static str {
        match self {
            Self::Heat => "heatmap",
            Self::Table => "table",
            _ => "time_series",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Lines => "palette-classic",
            _ => "thresholds",
        }
    }

    /// Returns the colours: an alarm turns from green to red at 1.
    fn thresholds(self) -> Value {
        let steps = match self {
            Self::Alarm => {
                json!([{ "color": "green", "value": null }, { "color": "red", "value": 1 }])
            }
            Self::States => {
                json!([{ "color": "transparent", "value": null }, { "color": "green", "value": 1 }])
            }
            _ => json!([{ "color": "green", "value": null }]),
        };
        json!({ "mode": "absolute", "steps": steps })
    }

    fn mappings(self) -> Value {
        match self {
            Self::States => json!([{ "type": "value", "options": {
                "0": { "text": " ", "index": 0 }, "1": { "text": "yes", "index": 1 }
            } }]),
            _ => json!([]),
        }
    }

    fn custom(self) -> Value {
        match self {
            // An unknown value is a gap: no line is drawn through it.
            Self::Lines => {
                json!({ "lineWidth": 1, "fillOpacity": 8, "spanNulls": false, "showPoints": "never" })
            }
            Self::States => json!({ "lineWidth": 0, "fillOpacity": 80 }),
            _ => json!({}),
        }
    }

    fn options(self) -> Value {
        match self {
            Self::Lines => json!({
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                "tooltip": { "mode": "multi", "sort": "desc" }
            }),
            Self::Number | Self::Alarm => json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "value", "graphMode": "none", "textMode": "auto",
                "justifyMode": "auto", "orientation": "auto"
            }),
            Self::States => json!({
                "mergeValues": true, "showValue": "never", "alignValue": "left", "rowHeight": 0.9,
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": [] },
                "tooltip": { "mode": "single", "sort": "none" }
            }),
            Self::Heat => json!({
                "calculate": false, "cellGap": 1,
                "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5,
                    "fill": "dark-orange", "reverse": false },
                "yAxis": { "unit": "s" }, "rowsFrame": { "layout": "auto" }, "legend": { "show": true },
                "tooltip": { "show": true, "yHistogram": false },
                "filterValues": { "le": 1e-9 }, "exemplars": { "color": "red" }, "showValue": "never"
            }),
            Self::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
        }
    }

    fn transformations(self) -> Value {
        match self {
            Self::Table => json!([{ "id": "organize", "options": {
                "excludeByName": { "Time": true, "Value": true, "__name__": true, "instance": true, "job": true },
                "indexByName": { "gateway": 0, "modem": 1, "manufacturer": 2, "model": 3, "firmware": 4, "profile": 5 },
                "renameByName": {}
            } }]),
            _ => json!([]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_never_overlap_and_fill_rows() {
        for dashboard in panels::DASHBOARDS {
            let placed = laid_out(dashboard.panels);
            let number = |value: &Value, key: &str| value["gridPos"][key].as_u64().unwrap();
            for (at, a) in placed.iter().enumerate() {
                assert!(number(a, "x") + number(a, "w") <= u64::from(COLUMNS));
                for b in &placed[at + 1..] {
                    let apart = |start: &str, size: &str| {
                        number(a, start) + number(a, size) <= number(b, start)
                            || number(b, start) + number(b, size) <= number(a, start)
                    };
                    assert!(
                        apart("x", "w") || apart("y", "h"),
                        "{} over {}",
                        a["title"],
                        b["title"]
                    );
                }
            }
        }
    }

    #[test]
    fn every_panel_says_what_it_is_for() {
        for panel in panels::DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels) {
            assert!(panel.description.ends_with('.'), "{}", panel.title);
            assert!(!panel.queries.is_empty(), "{}", panel.title);
        }
    }
}
