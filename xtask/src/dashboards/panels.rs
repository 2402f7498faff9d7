//! The contents of the dashboards: titles, expressions, units.
//!
//! The tests run every expression against a real Prometheus (`tests/tests/e2e/grafana.rs`).

/// The form in which a panel shows its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lines over time.
    Lines,
    /// A number.
    Number,
    /// A number that is bad from 1 on.
    Alarm,
    /// The state at each time.
    States,
    /// A histogram over time.
    Heat,
    /// A row for each series.
    Table,
}

/// An expression and its legend.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) expr: &'static str,
    pub(super) legend: &'static str,
}

/// A panel. Widths are in columns of 24, heights in Grafana's rows.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) queries: &'static [Query],
}

/// A variable that is filled by a query.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) query: &'static str,
    pub(super) multi: bool,
}

/// A dashboard.
#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) variables: &'static [Variable],
    pub(super) panels: &'static [Panel],
}

const GATEWAYS: Variable = Variable {
    name: "gateway",
    label: "Gateway",
    query: "label_values(modemfleet_build_info, gateway)",
    multi: true,
};

const MODEMS: Variable = Variable {
    name: "modem",
    label: "Modem",
    query: "label_values(modemfleet_modem_present{gateway=~\"$gateway\"}, modem)",
    multi: true,
};

const SESSIONS: Variable = Variable {
    name: "session",
    label: "Session",
    query: "label_values(modemfleet_mqtt_connected{gateway=~\"$gateway\",modem=~\"$modem\"}, session)",
    multi: true,
};

/// Both dashboards.
pub(super) const DASHBOARDS: &[&Dashboard] = &[&FLEET, &MODEM];

const FLEET: Dashboard = Dashboard {
    uid: "modemfleet-fleet",
    title: "modemfleet / fleet",
    description: "All gateways: modems, sessions and queues.",
    variables: &[GATEWAYS],
    panels: &[
        Panel {
            title: "Gateways",
            description: "Agents that answer a scrape.",
            kind: Kind::Number,
            unit: "none",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "count(modemfleet_build_info{gateway=~\"$gateway\"})",
                legend: "",
            }],
        },
        Panel {
            title: "Modems serving",
            description: "Modems in the state serving.",
            kind: Kind::Number,
            unit: "none",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "sum(modemfleet_modem_state{gateway=~\"$gateway\",state=\"serving\"})",
                legend: "",
            }],
        },
        Panel {
            title: "Modems absent",
            description: "Modems of the fleet files without a port.",
            kind: Kind::Alarm,
            unit: "none",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "count(modemfleet_modem_present{gateway=~\"$gateway\"} == 0) or vector(0)",
                legend: "",
            }],
        },
        Panel {
            title: "Modems failed",
            description: "Modems that do not match the fleet file, or that no recovery action brought back.",
            kind: Kind::Alarm,
            unit: "none",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "sum(modemfleet_modem_state{gateway=~\"$gateway\",state=\"failed\"})",
                legend: "",
            }],
        },
        Panel {
            title: "Sessions down",
            description: "Sessions that are not connected.",
            kind: Kind::Alarm,
            unit: "none",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "count(modemfleet_mqtt_connected{gateway=~\"$gateway\"} == 0) or vector(0)",
                legend: "",
            }],
        },
        Panel {
            title: "Messages waiting",
            description: "Messages in all queues, without dead letters.",
            kind: Kind::Number,
            unit: "short",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "sum(modemfleet_queue_messages{gateway=~\"$gateway\"} - modemfleet_queue_set_aside_messages{gateway=~\"$gateway\"})",
                legend: "",
            }],
        },
        Panel {
            title: "Oldest message",
            description: "Age of the oldest message in any queue; no data if all queues are empty.",
            kind: Kind::Number,
            unit: "s",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "time() - min(modemfleet_queue_oldest_timestamp_seconds{gateway=~\"$gateway\"})",
                legend: "",
            }],
        },
        Panel {
            title: "Messages dropped per day",
            description: "Messages that were dropped without an acknowledgement within a day.",
            kind: Kind::Alarm,
            unit: "none",
            width: 3,
            height: 4,
            queries: &[Query {
                expr: "sum(increase(modemfleet_queue_dropped_total{gateway=~\"$gateway\"}[1d]))",
                legend: "",
            }],
        },
        Panel {
            title: "Publishes per second",
            description: "Acknowledged publishes by gateway.",
            kind: Kind::Lines,
            unit: "ops",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "sum by (gateway) (rate(modemfleet_mqtt_publishes_total{gateway=~\"$gateway\",result=\"ok\"}[$__rate_interval]))",
                legend: "{{gateway}}",
            }],
        },
        Panel {
            title: "Publish latency, p95",
            description: "Time until the broker's acknowledgement, by gateway.",
            kind: Kind::Lines,
            unit: "s",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "histogram_quantile(0.95, sum by (gateway, le) (rate(modemfleet_mqtt_publish_duration_seconds_bucket{gateway=~\"$gateway\"}[$__rate_interval])))",
                legend: "{{gateway}}",
            }],
        },
        Panel {
            title: "Queue fill",
            description: "Bytes in the queue as a share of queue.max_bytes.",
            kind: Kind::Lines,
            unit: "percentunit",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "modemfleet_queue_bytes{gateway=~\"$gateway\"} / modemfleet_queue_limit_bytes{gateway=~\"$gateway\"}",
                legend: "{{gateway}}",
            }],
        },
        Panel {
            title: "Hotplug events",
            description: "Modems that were plugged in or unplugged, per hour.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "sum by (gateway, action) (increase(modemfleet_hotplug_events_total{gateway=~\"$gateway\"}[1h]))",
                legend: "{{gateway}} {{action}}",
            }],
        },
        Panel {
            title: "Active path",
            description: "The session that each failover route uses.",
            kind: Kind::States,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "modemfleet_route_active{gateway=~\"$gateway\"}",
                legend: "{{gateway}} {{route}} {{modem}}/{{session}}",
            }],
        },
        Panel {
            title: "Failovers",
            description: "Switches of a route to another path by cause, per hour.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "sum by (gateway, route, cause) (increase(modemfleet_route_switches_total{gateway=~\"$gateway\"}[1h]))",
                legend: "{{gateway}} {{route}} {{cause}}",
            }],
        },
        Panel {
            title: "Published by applications",
            description: "Messages that applications published to the agent, by way and result, per second.",
            kind: Kind::Lines,
            unit: "ops",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "sum by (gateway, way, result) (rate(modemfleet_hand_in_total{gateway=~\"$gateway\"}[$__rate_interval]))",
                legend: "{{gateway}} {{way}} {{result}}",
            }],
        },
        Panel {
            title: "New dead letters",
            description: "Messages that became dead letters, by reason, per hour: see modemfleet queue inspect.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "sum by (gateway, reason) (increase(modemfleet_messages_set_aside_total{gateway=~\"$gateway\"}[1h]))",
                legend: "{{gateway}} {{reason}}",
            }],
        },
        Panel {
            title: "Commits refused",
            description: "Commits that a queue's disk refused, per hour. A refused commit stores and removes nothing.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "increase(modemfleet_queue_commit_errors_total{gateway=~\"$gateway\"}[1h])",
                legend: "{{gateway}}",
            }],
        },
        Panel {
            title: "Detection time",
            description: "Time from the device's first event until its profile is loaded: median and p95 of the last day.",
            kind: Kind::Lines,
            unit: "s",
            width: 12,
            height: 8,
            queries: &[
                Query {
                    expr: "histogram_quantile(0.5, sum by (le) (increase(modemfleet_detection_duration_seconds_bucket{gateway=~\"$gateway\"}[1d])))",
                    legend: "median",
                },
                Query {
                    expr: "histogram_quantile(0.95, sum by (le) (increase(modemfleet_detection_duration_seconds_bucket{gateway=~\"$gateway\"}[1d])))",
                    legend: "95 %",
                },
            ],
        },
        Panel {
            title: "Modems",
            description: "Modems with make and firmware, by gateway.",
            kind: Kind::Table,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[Query { expr: "modemfleet_modem_info{gateway=~\"$gateway\"}", legend: "" }],
        },
    ],
};

const MODEM: Dashboard = Dashboard {
    uid: "modemfleet-modem",
    title: "modemfleet / modem",
    description: "One modem: states, signal and sessions.",
    variables: &[GATEWAYS, MODEMS, SESSIONS],
    panels: &[
        Panel {
            title: "State",
            description: "State of the modem over time.",
            kind: Kind::States,
            unit: "none",
            width: 24,
            height: 7,
            queries: &[Query {
                expr: "modemfleet_modem_state{gateway=~\"$gateway\",modem=~\"$modem\"}",
                legend: "{{modem}} {{state}}",
            }],
        },
        Panel {
            title: "Signal power",
            description: "Reference signal power, or total power if the modem reports no other, by access technology. A gap is an unknown value.",
            kind: Kind::Lines,
            unit: "dBm",
            width: 12,
            height: 8,
            queries: &[
                Query {
                    expr: "modemfleet_signal_rsrp_dbm{gateway=~\"$gateway\",modem=~\"$modem\"}",
                    legend: "{{modem}} {{rat}} RSRP",
                },
                Query {
                    expr: "modemfleet_signal_rssi_dbm{gateway=~\"$gateway\",modem=~\"$modem\"}",
                    legend: "{{modem}} {{rat}} RSSI",
                },
            ],
        },
        Panel {
            title: "Signal quality",
            description: "RSRQ and SINR by access technology.",
            kind: Kind::Lines,
            unit: "dB",
            width: 12,
            height: 8,
            queries: &[
                Query {
                    expr: "modemfleet_signal_rsrq_db{gateway=~\"$gateway\",modem=~\"$modem\"}",
                    legend: "{{modem}} {{rat}} RSRQ",
                },
                Query {
                    expr: "modemfleet_signal_sinr_db{gateway=~\"$gateway\",modem=~\"$modem\"}",
                    legend: "{{modem}} {{rat}} SINR",
                },
            ],
        },
        Panel {
            title: "Publish latency",
            description: "Publishes by the time until the broker's acknowledgement.",
            kind: Kind::Heat,
            unit: "s",
            width: 12,
            height: 9,
            queries: &[Query {
                expr: "sum by (le) (increase(modemfleet_mqtt_publish_duration_seconds_bucket{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\"}[$__rate_interval]))",
                legend: "{{le}}",
            }],
        },
        Panel {
            title: "Publishes by result",
            description: "ok: the broker acknowledged; unknown: no result within the stall time, it may still arrive.",
            kind: Kind::Lines,
            unit: "ops",
            width: 12,
            height: 9,
            queries: &[Query {
                expr: "sum by (modem, session, result) (rate(modemfleet_mqtt_publishes_total{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\"}[$__rate_interval]))",
                legend: "{{modem}}/{{session}} {{result}}",
            }],
        },
        Panel {
            title: "Sessions",
            description: "Connection of each session over time.",
            kind: Kind::States,
            unit: "none",
            width: 12,
            height: 7,
            queries: &[Query {
                expr: "modemfleet_mqtt_connected{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\"}",
                legend: "{{modem}}/{{session}}",
            }],
        },
        Panel {
            title: "Connects and disconnects",
            description: "CONNECTs that failed, and ends of sessions by reason, per hour.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 7,
            queries: &[
                Query {
                    expr: "sum by (modem, session) (increase(modemfleet_mqtt_connects_total{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\",result=\"error\"}[1h]))",
                    legend: "{{modem}}/{{session}} refused",
                },
                Query {
                    expr: "sum by (modem, session, reason) (increase(modemfleet_mqtt_disconnects_total{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\"}[1h]))",
                    legend: "{{modem}}/{{session}} {{reason}}",
                },
            ],
        },
        Panel {
            title: "Last acknowledgement",
            description: "Time since the broker's last acknowledgement.",
            kind: Kind::Lines,
            unit: "s",
            width: 8,
            height: 7,
            queries: &[Query {
                expr: "time() - modemfleet_mqtt_last_ack_timestamp_seconds{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\"}",
                legend: "{{modem}}/{{session}}",
            }],
        },
        Panel {
            title: "Received",
            description: "Messages received from the broker, per second.",
            kind: Kind::Lines,
            unit: "ops",
            width: 8,
            height: 7,
            queries: &[Query {
                expr: "rate(modemfleet_mqtt_received_total{gateway=~\"$gateway\",modem=~\"$modem\",session=~\"$session\"}[$__rate_interval])",
                legend: "{{modem}}/{{session}}",
            }],
        },
        Panel {
            title: "Temperature",
            description: "Temperature of the module, if the modem reports it.",
            kind: Kind::Lines,
            unit: "celsius",
            width: 8,
            height: 7,
            queries: &[Query {
                expr: "modemfleet_modem_temperature_celsius{gateway=~\"$gateway\",modem=~\"$modem\"}",
                legend: "{{modem}}",
            }],
        },
        Panel {
            title: "Recovery and desyncs",
            description: "Recovery actions by outcome, and answers that were late, torn or missing, per hour.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 8,
            queries: &[
                Query {
                    expr: "sum by (modem, action, outcome) (increase(modemfleet_recovery_actions_total{gateway=~\"$gateway\",modem=~\"$modem\"}[1h]))",
                    legend: "{{modem}} {{action}} {{outcome}}",
                },
                Query {
                    expr: "increase(modemfleet_at_desyncs_total{gateway=~\"$gateway\",modem=~\"$modem\"}[1h])",
                    legend: "{{modem}} desync",
                },
            ],
        },
        Panel {
            title: "AT exchanges",
            description: "p95 of the time of an exchange, by purpose.",
            kind: Kind::Lines,
            unit: "s",
            width: 12,
            height: 8,
            queries: &[Query {
                expr: "histogram_quantile(0.95, sum by (modem, command, le) (rate(modemfleet_at_command_duration_seconds_bucket{gateway=~\"$gateway\",modem=~\"$modem\"}[$__rate_interval])))",
                legend: "{{modem}} {{command}}",
            }],
        },
        Panel {
            title: "Time to detection and to the first session",
            description: "Time of the last detection, and of the first session after it.",
            kind: Kind::Number,
            unit: "s",
            width: 12,
            height: 5,
            queries: &[
                Query {
                    expr: "modemfleet_modem_last_detection_seconds{gateway=~\"$gateway\",modem=~\"$modem\"}",
                    legend: "{{modem}} detected",
                },
                Query {
                    expr: "modemfleet_modem_last_ready_seconds{gateway=~\"$gateway\",modem=~\"$modem\"}",
                    legend: "{{modem}} ready",
                },
            ],
        },
        Panel {
            title: "Budget left",
            description: "Unused share of each SIM's budget until its reset day; only modems with a budget.",
            kind: Kind::Lines,
            unit: "percentunit",
            width: 12,
            height: 5,
            queries: &[Query {
                expr: "modemfleet_budget_left_bytes{gateway=~\"$gateway\",modem=~\"$modem\"} / modemfleet_budget_bytes{gateway=~\"$gateway\",modem=~\"$modem\"}",
                legend: "{{modem}}",
            }],
        },
        Panel {
            title: "AT commands by result",
            description: "Exchanges that failed or got no answer, per hour.",
            kind: Kind::Lines,
            unit: "none",
            width: 12,
            height: 5,
            queries: &[Query {
                expr: "sum by (modem, command, result) (increase(modemfleet_at_commands_total{gateway=~\"$gateway\",modem=~\"$modem\",result!=\"ok\"}[1h]))",
                legend: "{{modem}} {{command}} {{result}}",
            }],
        },
    ],
};
