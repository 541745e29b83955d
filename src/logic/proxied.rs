//! The head that a proxy puts before a connection's bytes, so that who is behind it is known.
//!
//! Source: "The PROXY protocol, versions 1 & 2", haproxy.org, sections 2.1 and 2.2. Invariant: any
//! bytes give a client, nobody in particular, or an error; how many are read is bounded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, with its end.
pub const LINE_BYTES_MAX: usize = 107;

/// How version 2 begins: signature, version and command, family, length.
pub const HEAD_BYTES: usize = 16;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// No such head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHead;

/// Who is behind the proxy; `None`: nobody, it speaks for itself (a health check).
pub type Client = Option<SocketAddr>;

/// A line of version 1, with its end.
pub fn line(bytes: &[u8]) -> Result<Client, BadHead> {
    let text = bytes.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok());
    let mut words = text.ok_or(BadHead)?.split(' ');
    if words.next() != Some("PROXY") {
        return Err(BadHead);
    }
    let v4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        Some("UNKNOWN") => return Ok(None),
        Some(_) | None => return Err(BadHead),
    };
    let mut word = || words.next().ok_or(BadHead);
    let (client, server, port, server_port) = (word()?, word()?, word()?, word()?);
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| BadHead);
    let number = |text: &str| text.parse::<u16>().map_err(|_| BadHead);
    let (client, server) = (address(client)?, address(server)?);
    number(server_port)?;
    if words.next().is_some() || client.is_ipv4() != v4 || server.is_ipv4() != v4 {
        return Err(BadHead);
    }
    Ok(Some(SocketAddr::new(client, number(port)?)))
}

/// What follows the first bytes of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub len: usize,
    /// The proxy speaks for a client.
    proxied: bool,
    family: u8,
}

/// The first bytes of version 2.
pub fn head(bytes: &[u8; HEAD_BYTES]) -> Result<Rest, BadHead> {
    let (signature, rest) = bytes.split_at(SIGNATURE.len());
    let [command, family, high, low] = *rest else { return Err(BadHead) };
    let proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err(BadHead),
    };
    if signature != SIGNATURE {
        return Err(BadHead);
    }
    Ok(Rest { len: usize::from(u16::from_be_bytes([high, low])), proxied, family })
}

impl Rest {
    /// The client, from the `len` bytes that follow. What is not TCP is nobody in particular.
    pub fn client(&self, bytes: &[u8]) -> Result<Client, BadHead> {
        if !self.proxied {
            return Ok(None);
        }
        match self.family {
            0x11 => {
                let bytes: [u8; 12] = first(bytes)?;
                let [a, b, c, d, _, _, _, _, high, low, _, _] = bytes;
                let port = u16::from_be_bytes([high, low]);
                Ok(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)))
            }
            0x21 => {
                let bytes: [u8; 36] = first(bytes)?;
                let address: [u8; 16] = first(&bytes)?;
                let port = u16::from_be_bytes([bytes[32], bytes[33]]);
                Ok(Some(SocketAddr::new(Ipv6Addr::from(address).into(), port)))
            }
            _ => Ok(None),
        }
    }
}

fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N], BadHead> {
    bytes.first_chunk::<N>().copied().ok_or(BadHead)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn address(text: &str) -> Client {
        Some(text.parse().unwrap())
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Result<Client, BadHead> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let bytes = [&SIGNATURE[..], &[command, family], &len].concat();
        let parsed = head(bytes.as_slice().try_into().unwrap())?;
        assert_eq!(parsed.len, rest.len());
        parsed.client(rest)
    }

    #[test]
    fn lines_of_version_1_name_the_client() {
        let v4 = line(b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n");
        assert_eq!(v4, Ok(address("203.0.113.9:56324")));
        let v6 = line(b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n");
        assert_eq!(v6, Ok(address("[2001:db8::9]:56324")));
        assert_eq!(line(b"PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(line(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Ok(None));
        for bad in [
            &b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\n"[..],
            b"PROXY TCP4 203.0.113.9 10.0.0.1 56324\r\n",
            b"PROXY TCP4 2001:db8::9 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 70000 443\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2 3\r\n",
            b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
            b"GET / HTTP/1.1\r\n",
            b"",
        ] {
            assert_eq!(line(bad), Err(BadHead), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn heads_of_version_2_name_the_client() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0xdc, 0x04, 1, 187];
        assert_eq!(second(0x21, 0x11, &v4), Ok(address("203.0.113.9:56324")));
        let longer = [&v4[..], b"more that nobody asked for"].concat();
        assert_eq!(second(0x21, 0x11, &longer), Ok(address("203.0.113.9:56324")));
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        (v6[15], v6[32], v6[33]) = (9, 0xdc, 0x04);
        assert_eq!(second(0x21, 0x21, &v6), Ok(address("[2001:db8::9]:56324")));
        assert_eq!(second(0x20, 0, &[]), Ok(None), "the proxy itself");
        assert_eq!(second(0x21, 0x31, &[0; 216]), Ok(None), "a local socket");
        assert_eq!(second(0x21, 0x11, &v4[..11]), Err(BadHead));
        assert_eq!(second(0x11, 0x11, &v4), Err(BadHead), "no version 2");
        assert_eq!(head(b"GET / HTTP/1.1\r\n"), Err(BadHead));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>, head_bytes in any::<[u8; HEAD_BYTES]>(),
                                       kind in any::<(bool, u8)>()) {
            let _ = line(&bytes);
            let _ = head(&head_bytes);
            let rest = Rest { len: bytes.len(), proxied: kind.0, family: kind.1 };
            let _ = rest.client(&bytes);
        }
    }
}
