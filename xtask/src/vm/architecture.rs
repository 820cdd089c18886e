//! What differs between the processors of the guests: names, and how QEMU makes a machine with one.

/// A processor that guests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    pub(super) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// As Debian names it.
    pub(super) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The program that emulates it.
    pub(super) fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// Debian's package of that program.
    pub(super) fn emulator_package(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86",
            Self::Arm64 => "qemu-system-arm",
        }
    }

    /// QEMU's arguments for a machine.
    pub(super) fn machine(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["-cpu", "max"],
            // There is no default machine. Authenticated pointers, in QEMU's own cipher, cost the least.
            Self::Arm64 => &["-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// What its kernels call the first serial port.
    pub(super) fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }
}
