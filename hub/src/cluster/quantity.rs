//! Quantities, as Kubernetes writes them: `500m`, `0.5`, `512Mi`, `1e3`.

use crate::error::{Error, Result};

/// A quantity above nothing, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity(String);

/// Of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Cores, no finer than a thousandth.
    Cpu,
    /// Bytes, no finer than one.
    Memory,
}

impl Quantity {
    /// Understands a quantity.
    ///
    /// # Errors
    /// API-001, naming `what`.
    pub fn parse(what: &str, of: Resource, text: &str) -> Result<Self> {
        let least = match of {
            Resource::Cpu => 0.001,
            Resource::Memory => 1.0,
        };
        match value(text) {
            Some(value) if value >= least => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid(match of {
                Resource::Cpu => format!("{what} must be a quantity of cores, as 500m or 0.5"),
                Resource::Memory => format!("{what} must be a quantity of bytes, as 512Mi"),
            })),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The number that a quantity is; `None` where it is none.
fn value(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    if text.len() > 32 {
        return None;
    }
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .or_else(|| {
            let (number, exponent) = text.split_once(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok().filter(|e| (-9..=18).contains(e))?;
            Some((number, 10_f64.powi(exponent)))
        })
        .unwrap_or((text, 1.0));
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // Kubernetes takes `.5` and `5.`; what this hub takes, all servers take.
    if whole.is_empty() || part.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    number.parse::<f64>().ok().map(|n| n * factor).filter(|n| n.is_finite() && *n <= 1.1e19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let is = |of, text| Quantity::parse("x", of, text).is_ok();
        for good in ["500m", "0.5", "2", "1e3", "1E3", "1k", "0.001", "1500000u"] {
            assert!(is(Resource::Cpu, good), "{good}");
        }
        for good in ["512Mi", "1G", "1048576", "1.5Gi", "128M", "1e9", "1E"] {
            assert!(is(Resource::Memory, good), "{good}");
        }
        for bad in [
            "", "m", "1.", ".5", "-1", "+1", "0", "0m", "1i", "Mi", "1MiB", "1 G", "1,5", "0x10",
            "1e", "e3", "1e99", "NaN", "inf", "0.0001", "1n", "--help", "١",
        ] {
            assert!(!is(Resource::Cpu, bad), "{bad}");
        }
        assert!(!is(Resource::Memory, "500m"), "half a byte is a mistake");
    }
}
