//! Kinds of machines, and the names that each packaging has for them.

use std::fmt;

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Machine {
    /// PCs and their like; Debian's amd64.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM, such as a Raspberry Pi 3 to 5; Debian's arm64.
    #[value(name = "aarch64")]
    Aarch64,
    /// 32-bit ARM with hardware floating point; Debian's armhf.
    #[value(name = "armv7")]
    Armv7,
}

impl Machine {
    /// Returns the name of its target in Rust, with glibc.
    pub(super) const fn gnu(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// Returns the name of its target in Rust, with musl.
    pub(super) const fn musl(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::Armv7 => "armv7-unknown-linux-musleabihf",
        }
    }

    /// Returns its name in OpenWrt. ARM's packages there are for one processor each; these take any.
    pub(super) const fn openwrt(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64_generic",
            Self::Armv7 => "arm_cortex-a7",
        }
    }

    /// Returns its architecture and variant in container images.
    pub(super) const fn oci(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::X86_64 => ("amd64", None),
            Self::Aarch64 => ("arm64", None),
            Self::Armv7 => ("arm", Some("v7")),
        }
    }

    /// Returns Debian's linker for it on other machines.
    pub(super) const fn linker(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some("aarch64-linux-gnu-gcc"),
            Self::Armv7 => Some("arm-linux-gnueabihf-gcc"),
        }
    }

    /// Returns the program of qemu-user that runs its programs elsewhere.
    pub(super) const fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-x86_64-static",
            Self::Aarch64 => "qemu-aarch64-static",
            Self::Armv7 => "qemu-arm-static",
        }
    }

    /// Reports whether this machine runs its programs.
    pub(super) fn is_here(self) -> bool {
        std::env::consts::ARCH
            == match self {
                Self::X86_64 => "x86_64",
                Self::Aarch64 => "aarch64",
                Self::Armv7 => "arm",
            }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
        })
    }
}
