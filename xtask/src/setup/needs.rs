//! The list of needs: programs and libraries, their Debian packages, and the tests that use them.

use clap::ValueEnum;

/// A part of the system that build or tests need.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// The work that needs it.
    pub(super) group: Group,
    /// The check for it.
    pub(super) probe: Probe,
    /// The Debian packages that bring it. Recommended packages are not installed, so all needed
    /// packages are named.
    pub(super) packages: &'static [&'static str],
    /// Its purpose.
    pub(super) why: &'static str,
}

/// The work that needs a part of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The build of the program, all that `cargo xtask demo` needs.
    Build,
    /// Most end-to-end tests.
    Tests,
    /// Tests that can be left out.
    Optional(Part),
}

/// Tests that a machine can do without; CI runs all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// Local applications in Python and Node.js.
    Clients,
    /// The status page in Chromium.
    Browser,
    /// Dashboards and manifests against the types of Grafana and Kubernetes.
    Schemas,
    /// The Debian package and the systemd units.
    Package,
    /// Metrics, rules and dashboards against Prometheus.
    Prometheus,
    /// Discovery with a mocked udev.
    Mock,
    /// USB modems on a real kernel, in a guest.
    Guest,
}

impl Part {
    /// The word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Browser => "browser",
            Self::Schemas => "schemas",
            Self::Package => "package",
            Self::Prometheus => "prometheus",
            Self::Mock => "mock",
            Self::Guest => "guest",
        }
    }

    /// The beginnings of the names of its tests in the package `e2e`.
    pub(crate) fn tests(self) -> &'static [&'static str] {
        match self {
            Self::Clients => &["inbox::paho_", "mqtt::unmodified_clients_"],
            Self::Browser => &["page::"],
            Self::Schemas => &["grafana::the_dashboards_fit_", "kubernetes::"],
            Self::Package => &["systemd::", "the_package_is_judged_"],
            Self::Prometheus => &["prometheus::", "hostile_modem::", "grafana::every_panel_"],
            Self::Mock => &["mock::"],
            Self::Guest => &["all_that_is_ignored_here_", "power::"],
        }
    }
}

/// A way to see that a part of the system is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// A program on the `PATH` or in a system folder.
    Program(&'static str),
    /// A library, by its pkg-config name.
    Library(&'static str),
    /// A module of the system's own Python.
    Python(&'static str),
    /// A module of the system's own Node.js.
    Node(&'static str),
}

impl Probe {
    /// The name of the program, library or module.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Program(name) | Self::Library(name) | Self::Python(name) | Self::Node(name) => {
                name
            }
        }
    }
}

const fn need(
    group: Group,
    probe: Probe,
    packages: &'static [&'static str],
    why: &'static str,
) -> Need {
    Need { group, probe, packages, why }
}

/// All needs, those of the build first.
pub(super) const NEEDS: &[Need] = &[
    need(
        Group::Build,
        Probe::Program("cc"),
        &["gcc", "libc6-dev"],
        "links the programs and compiles the SQLite that comes with the queue",
    ),
    need(
        Group::Build,
        Probe::Program("pkg-config"),
        &["pkg-config"],
        "finds the system's libraries for the build",
    ),
    // After pkg-config, by which libraries are found.
    need(
        Group::Build,
        Probe::Library("libudev"),
        &["libudev-dev"],
        "finds the modems that are plugged in",
    ),
    need(
        Group::Tests,
        Probe::Program("mosquitto"),
        &["mosquitto"],
        "the broker that the end-to-end tests talk to, each on a port of its own",
    ),
    need(
        Group::Tests,
        Probe::Program("mosquitto_sub"),
        &["mosquitto-clients"],
        "shows the end-to-end tests the messages of the broker",
    ),
    need(
        Group::Tests,
        Probe::Program("mosquitto_pub"),
        &["mosquitto-clients"],
        "stands for a local application in the end-to-end tests",
    ),
    need(
        Group::Optional(Part::Clients),
        Probe::Python("paho.mqtt.client"),
        &["python3", "python3-paho-mqtt"],
        "stands for an application in Python in the end-to-end tests",
    ),
    need(
        Group::Optional(Part::Clients),
        Probe::Node("mqtt"),
        &["nodejs", "node-mqtt"],
        "stands for Node-RED and its like in the end-to-end tests",
    ),
    need(
        Group::Optional(Part::Browser),
        Probe::Program("chromedriver"),
        &["chromium", "chromium-driver"],
        "the browser that the status page is tested in",
    ),
    need(
        Group::Optional(Part::Schemas),
        Probe::Program("python3"),
        &["python3", "python3-venv"],
        "checks the dashboards against Grafana's own types",
    ),
    need(
        Group::Optional(Part::Package),
        Probe::Program("systemd-analyze"),
        &["systemd"],
        "checks the units and how much they expose",
    ),
    need(
        Group::Optional(Part::Package),
        Probe::Program("dpkg-shlibdeps"),
        &["dpkg-dev", "binutils"],
        "finds the libraries that the Debian package needs",
    ),
    need(
        Group::Optional(Part::Package),
        Probe::Program("lintian"),
        &["lintian"],
        "checks the Debian package",
    ),
    need(
        Group::Optional(Part::Prometheus),
        Probe::Program("promtool"),
        &["prometheus"],
        "checks the metrics, and runs the rules and dashboards against a real agent",
    ),
    need(
        Group::Optional(Part::Mock),
        Probe::Program("umockdev-run"),
        &["umockdev", "gir1.2-umockdev-1.0", "python3-gi"],
        "plays the kernel and udevd for a test of discovery without a guest",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("qemu-system-x86_64"),
        &["qemu-system-x86"],
        "boots a guest in which USB modems are plugged in",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("busybox"),
        &["busybox-static"],
        "starts that guest",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("debugfs"),
        &["e2fsprogs"],
        "reads the disk of a guest whose power was cut",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("cpio"),
        &["cpio"],
        "packs what starts that guest",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("depmod"),
        &["kmod"],
        "finds the drivers of its kernel",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("udevadm"),
        &["udev"],
        "names the devices in it",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("setpriv"),
        &["util-linux"],
        "is the service's user in it",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("dbus-daemon"),
        &["dbus"],
        "is the bus of ModemManager",
    ),
    need(
        Group::Optional(Part::Guest),
        Probe::Program("ModemManager"),
        &["modemmanager"],
        "judges the simulator, and is the neighbour that the udev rules are tried with",
    ),
];
