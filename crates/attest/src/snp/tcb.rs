//! TCB versions: the security version numbers of the firmware parts that a report depends on.
//!
//! ```text
//! octet          0     1     2    3    4  5  6    7
//! Milan, Genoa   bl    tee   0    0    0  0  snp  ucode
//! Turin          fmc   bl    tee  snp  0  0  0    ucode
//! ```
//!
//! Versions are compared component by component. There is no total order: a newer bootloader does not make up for an
//! older microcode, so [`Tcb`] implements no `Ord`, and nobody may compare the eight octets as one number.

use core::fmt;

use serde::Serialize;

use super::product::ProductLine;

/// Eight octets of a report, before it is known how to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTcb(pub [u8; 8]);

/// The security version numbers of one TCB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tcb {
    /// FMC firmware; Turin and later, 0 on earlier lines.
    pub fmc: u8,
    /// Bootloader.
    pub bootloader: u8,
    /// Trusted execution environment (PSP operating system).
    pub tee: u8,
    /// SEV-SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// A part of the TCB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// FMC firmware.
    Fmc,
    /// Bootloader.
    Bootloader,
    /// Trusted execution environment.
    Tee,
    /// SEV-SNP firmware.
    Snp,
    /// Microcode.
    Microcode,
}

impl RawTcb {
    /// Reads the octets as this line writes them; `None` where a reserved octet is not zero.
    pub fn decode(self, line: ProductLine) -> Option<Tcb> {
        match (line, self.0) {
            (ProductLine::Milan | ProductLine::Genoa, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(Tcb { fmc: 0, bootloader, tee, snp, microcode })
            }
            (ProductLine::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => {
                Some(Tcb { fmc, bootloader, tee, snp, microcode })
            }
            _ => None,
        }
    }
}

impl Tcb {
    /// The octets as this line writes them: the inverse of [`RawTcb::decode`].
    pub fn encode(self, line: ProductLine) -> RawTcb {
        match line {
            ProductLine::Milan | ProductLine::Genoa => {
                RawTcb([self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode])
            }
            ProductLine::Turin => {
                RawTcb([self.fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode])
            }
        }
    }

    /// The first component that is lower than the floor's, with both numbers; `None` where none is.
    pub fn below(self, floor: Self) -> Option<(Component, u8, u8)> {
        self.components()
            .into_iter()
            .zip(floor.components())
            .find(|((_, found), (_, minimum))| found < minimum)
            .map(|((component, found), (_, minimum))| (component, found, minimum))
    }

    fn components(self) -> [(Component, u8); 5] {
        [
            (Component::Fmc, self.fmc),
            (Component::Bootloader, self.bootloader),
            (Component::Tee, self.tee),
            (Component::Snp, self.snp),
            (Component::Microcode, self.microcode),
        ]
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fmc {} bl {} tee {} snp {} ucode {}",
            self.fmc, self.bootloader, self.tee, self.snp, self.microcode
        )
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fmc => "fmc",
            Self::Bootloader => "bootloader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Tcb = Tcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 5 };

    #[test]
    fn the_octets_are_read_as_the_line_writes_them() {
        let genoa = RawTcb([9, 0, 0, 0, 0, 0, 0x17, 0x48]);
        let expected = Tcb { fmc: 0, bootloader: 9, tee: 0, snp: 0x17, microcode: 0x48 };
        assert_eq!(genoa.decode(ProductLine::Genoa), Some(expected));
        let turin = RawTcb([0, 1, 0, 2, 0, 0, 0, 0x47]);
        let expected = Tcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 0x47 };
        assert_eq!(turin.decode(ProductLine::Turin), Some(expected));
        for line in ProductLine::ALL {
            let tcb = Tcb { fmc: if line == ProductLine::Turin { 1 } else { 0 }, ..LOW };
            assert_eq!(tcb.encode(line).decode(line), Some(tcb));
        }
    }

    #[test]
    fn a_reserved_octet_is_refused_on_each_line() {
        for (line, reserved) in
            [(ProductLine::Milan, 2..6), (ProductLine::Genoa, 2..6), (ProductLine::Turin, 4..7)]
        {
            for index in reserved {
                let mut octets = [0; 8];
                octets[index] = 1;
                assert_eq!(RawTcb(octets).decode(line), None, "{line} octet {index}");
            }
        }
    }

    #[test]
    fn one_lower_component_is_below_whatever_the_others_are() {
        let high = Tcb { fmc: 255, bootloader: 255, tee: 255, snp: 255, microcode: 255 };
        assert_eq!(LOW.below(LOW), None);
        assert_eq!(high.below(LOW), None);
        for (lowered, component, minimum) in [
            (Tcb { fmc: 0, ..high }, Component::Fmc, 1),
            (Tcb { bootloader: 1, ..high }, Component::Bootloader, 2),
            (Tcb { tee: 2, ..high }, Component::Tee, 3),
            (Tcb { snp: 3, ..high }, Component::Snp, 4),
            (Tcb { microcode: 4, ..high }, Component::Microcode, 5),
        ] {
            assert_eq!(lowered.below(LOW), Some((component, minimum - 1, minimum)));
        }
    }
}
