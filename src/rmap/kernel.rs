//! Which kernel had which rules: by version, with what the long-term series took from later ones.

use std::fmt;
use std::str::FromStr;

use super::policy::{Left, Order, Policy, Rules, Unfaulted};

/// A version of Linux, as in `"6.18.44"`. Text after the numbers is ignored, except a release candidate's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    version: [u32; 3],
    /// Number of the release candidate; the highest for a release.
    candidate: u32,
}

/// A text that is no version of a kernel with a modelled design.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel must be a version of Linux from 2.4 on, as in \"6.18.44\", not {_0:?}")]
pub struct UnknownKernel(pub String);

/// The first releases of the long-term series that took 2555283e, the mend of 6.0, all of September 2022.
const MENDED_DEGREES: [[u32; 3]; 7] =
    [[4, 9, 327], [4, 14, 292], [4, 19, 257], [5, 4, 212], [5, 10, 141], [5, 15, 65], [5, 19, 7]];

/// Releases of other series that were seen to have 838bb60dc215, of October 2026; some before them can have it, too.
const APART_AT_THE_LATEST: [[u32; 3]; 2] = [[6, 12, 117], [7, 2, 13]];

impl Kernel {
    fn is_from(self, version: [u32; 3]) -> bool {
        self.version >= version
    }

    /// Whether it is of the series of one of these releases, and not older than it.
    fn has_backport(self, releases: &[[u32; 3]]) -> bool {
        releases.iter().any(|release| self.version[..2] == release[..2] && self.version[2] >= release[2])
    }

    /// The kernel that runs, by what `uname` says of its release and its build, and by `/proc/version_signature`, which
    /// Ubuntu has: the releases of Debian and Ubuntu name only the series. Debian's builds name the kernel, and so does
    /// Ubuntu's signature at its end.
    ///
    /// # Errors
    /// [`UnknownKernel`], if the release is no version.
    pub fn of_release(release: &str, build: &str, signature: &str) -> Result<Self, UnknownKernel> {
        let kernel: Self = release.parse()?;
        let debian = build.split_once("Debian ").map(|(_, version)| version);
        let exact = [debian, signature.split_whitespace().last()]
            .into_iter()
            .flatten()
            .filter_map(|version| version.parse::<Self>().ok())
            .find(|exact| exact.version[..2] == kernel.version[..2]);
        Ok(exact.unwrap_or(kernel))
    }

    /// The design that it has.
    pub fn policy(self) -> Policy {
        // The mends of the first chains, ea90002b and 646d87b4, are in 2.6.34-rc4.
        let first_chains = Self { version: [2, 6, 34], candidate: 4 };
        match self {
            _ if self.is_from([7, 0, 0]) || self.has_backport(&[[6, 18, 55]]) => Policy::Linux70,
            _ if self.is_from([6, 0, 0]) || self.has_backport(&MENDED_DEGREES) => Policy::Modern,
            _ if self.is_from([3, 19, 0]) => Policy::Degree319,
            _ if self.is_from([2, 6, 36]) => Policy::Avc36,
            _ if self >= first_chains => Policy::Avc34,
            _ if self.is_from([2, 6, 34]) => Policy::AvcRc1,
            _ if self.is_from([2, 6, 0]) => Policy::Shared26,
            _ => Policy::Scan24,
        }
    }

    /// Its rules: those of its design, with the changes within that design.
    pub fn rules(self) -> Rules {
        let rules = self.policy().rules();
        Rules {
            // 09854ba94c6a (5.9) left the mapping alone, 6c54dc6c7437 (5.19) sets it again.
            moves: rules.moves && !([5, 9, 0]..[5, 19, 0]).contains(&self.version),
            // 1493a1913e34 (5.19) notes it.
            notes_owner: rules.notes_owner && self.is_from([5, 19, 0]),
            // 879bca0a2c4f (6.16) lets them merge; 61f67c230a5e (6.19, 6.18.8) mends it.
            unfaulted: match self {
                _ if self.is_from([6, 18, 8]) => Unfaulted::Inherits,
                _ if self.is_from([6, 16, 0]) => Unfaulted::Loses,
                _ => Unfaulted::Apart,
            },
            // 1583aa278f5f (5.13) takes the chain away, 838bb60dc215 (7.3) keeps the ranges apart.
            left: match self {
                _ if self.is_from([7, 3, 0]) || self.has_backport(&APART_AT_THE_LATEST) => Left::StaysApart,
                _ if self.is_from([5, 13, 0]) => Left::LosesChain,
                _ => Left::KeepsChain,
            },
            // bf181b9f9d8d (3.7) made a tree of the list.
            walk: if self.is_from([3, 7, 0]) { Order::Tree } else { rules.walk },
            ..rules
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.version;
        write!(f, "{major}.{minor}.{patch}")?;
        if self.candidate == u32::MAX { Ok(()) } else { write!(f, "-rc{}", self.candidate) }
    }
}

impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Self, UnknownKernel> {
        let unknown = || UnknownKernel(name.into());
        let end = name.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(name.len());
        let (numbers, rest) = name.split_at(end);
        let mut version = [0; 3];
        let numbers = numbers.trim_end_matches('.').split('.').take(version.len());
        for (place, number) in version.iter_mut().zip(numbers) {
            *place = number.parse().map_err(|_| unknown())?;
        }
        let candidate = rest.strip_prefix("-rc").map(|rest| rest.chars().take_while(char::is_ascii_digit).collect());
        let candidate = candidate.and_then(|number: String| number.parse().ok()).unwrap_or(u32::MAX);
        let is_modelled = version >= [2, 4, 0] && version[..2] != [2, 5];
        if is_modelled { Ok(Self { version, candidate }) } else { Err(unknown()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &str) -> Kernel {
        name.parse().unwrap()
    }

    #[test]
    fn kernels_have_the_designs_of_the_sources() {
        for (name, policy) in [
            ("2.4", Policy::Scan24),
            ("2.6.33", Policy::Shared26),
            ("2.6.34-rc1", Policy::AvcRc1),
            ("2.6.34-rc3", Policy::AvcRc1),
            ("2.6.34-rc4", Policy::Avc34),
            ("2.6.34", Policy::Avc34),
            ("2.6.35.14", Policy::Avc34),
            ("2.6.36", Policy::Avc36),
            ("3.18.140", Policy::Avc36),
            ("3.19", Policy::Degree319),
            ("5.10.46", Policy::Degree319),
            ("5.10.223-1", Policy::Modern),
            ("5.19.6", Policy::Degree319),
            ("5.19.7", Policy::Modern),
            ("6.1.176-cloud-amd64", Policy::Modern),
            ("6.18.44", Policy::Modern),
            ("6.18.55", Policy::Linux70),
            ("6.19.1", Policy::Modern),
            ("7.0.0-rc1", Policy::Linux70),
            ("7.2.13", Policy::Linux70),
        ] {
            assert_eq!(kernel(name).policy(), policy, "{name}");
        }
    }

    #[test]
    fn rules_change_while_a_design_stays() {
        let moves = ["5.8.18", "5.9", "5.10.223", "5.18.19", "5.19"].map(|name| kernel(name).rules().moves);
        assert_eq!(moves, [true, false, false, false, true]);
        let notes_owner = ["5.10.223", "5.18.19", "5.19", "7.2"].map(|name| kernel(name).rules().notes_owner);
        assert_eq!(notes_owner, [false, false, true, true]);
        let unfaulted =
            ["6.15.11", "6.16", "6.18.7", "6.18.8", "6.19", "7.2"].map(|name| kernel(name).rules().unfaulted);
        let [apart, loses, inherits] = [Unfaulted::Apart, Unfaulted::Loses, Unfaulted::Inherits];
        assert_eq!(unfaulted, [apart, loses, loses, inherits, inherits, inherits]);
        let left = ["5.12", "5.13", "6.12.1", "6.12.117", "6.18.44", "7.2.1", "7.2.13", "7.3"];
        let [keeps, loses, stays] = [Left::KeepsChain, Left::LosesChain, Left::StaysApart];
        let left = left.map(|name| kernel(name).rules().left);
        assert_eq!(left, [keeps, loses, loses, stays, loses, loses, stays, stays]);
        let walks = ["3.6", "3.7", "6.1"].map(|name| kernel(name).rules().walk);
        assert_eq!(walks, [Order::List, Order::Tree, Order::Tree]);
        for policy in Policy::ALL.into_iter().filter(|&policy| policy != Policy::CowContext) {
            let first = policy.kernel().split(' ').next().unwrap();
            assert_eq!(kernel(first).policy(), policy, "{policy}");
        }
    }

    #[test]
    fn a_release_is_read_as_its_distribution_means_it() {
        let debian = "#1 SMP Debian 5.10.223-1 (2024-08-10)";
        let ubuntu = "Ubuntu 5.10.0-1045.47-oem 5.10.46\n";
        for (release, build, signature, kernel) in [
            ("5.10.0-32-cloud-amd64", debian, "", "5.10.223"),
            ("5.10.0-1045-oem", "#47-Ubuntu SMP Wed Aug 18 10:41:03 UTC 2021", ubuntu, "5.10.46"),
            ("6.18.44-fc", "#1 SMP PREEMPT_DYNAMIC", "", "6.18.44"),
            ("6.12.9", debian, ubuntu, "6.12.9"),
            ("7.0.0-rc3", "", "", "7.0.0-rc3"),
        ] {
            let running = Kernel::of_release(release, build, signature).map(|kernel| kernel.to_string());
            assert_eq!(running, Ok(kernel.into()), "{release}");
        }
        assert!(Kernel::of_release("unknown", debian, ubuntu).is_err());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for wrong in ["", "six", "2.2.26", "2.5.75", "v6.1", ".", "99999999999.1"] {
            assert_eq!(wrong.parse::<Kernel>(), Err(UnknownKernel(wrong.into())), "{wrong:?}");
        }
    }
}
