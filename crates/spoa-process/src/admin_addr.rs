//! Where metrics and health are shown.

use std::fmt;
use std::str::FromStr;

use crate::listen::HostAndPort;

/// `SPOA_ADMIN_ADDR`: an address, a host name and port, or nowhere.
///
/// ```
/// use spoa_process::AdminAddr;
///
/// assert_eq!(AdminAddr::default().to_string(), "127.0.0.1:9001");
/// assert_eq!("off".parse(), Ok(AdminAddr::off()));
/// assert!("9001".parse::<AdminAddr>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddr {
    /// `None`: nowhere.
    addr: Option<String>,
    required: bool,
}

impl AdminAddr {
    /// What counts unless somebody says otherwise: loopback, since there is no password.
    pub const DEFAULT: &str = "127.0.0.1:9001";

    /// Nowhere.
    pub fn off() -> Self {
        Self {
            addr: None,
            required: true,
        }
    }

    /// `ADDRESS:PORT` or `HOST:PORT`, not yet resolved. `None`: nowhere.
    pub fn addr(&self) -> Option<&str> {
        self.addr.as_deref()
    }

    /// Whether somebody asked for it. The default may be in use, as by another agent on the
    /// machine: that is no reason not to answer anybody.
    pub fn is_required(&self) -> bool {
        self.required
    }
}

impl Default for AdminAddr {
    fn default() -> Self {
        Self {
            addr: Some(Self::DEFAULT.to_owned()),
            required: false,
        }
    }
}

impl FromStr for AdminAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "off" {
            return Ok(Self::off());
        }
        let HostAndPort(addr) = text.parse()?;
        Ok(Self {
            addr: Some(addr),
            required: true,
        })
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.addr().unwrap_or("off"))
    }
}
