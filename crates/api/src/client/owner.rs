//! The user whose program listens at an address of this machine.
//!
//! Any local program may take a port above 1023 while no agent runs, and would receive the token
//! that is sent there. So if only the fleet file named the address, the owner of the listener is
//! checked first.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use fleet::accounts;
use fleet::private::OTHERS_WRITE;

/// The tables of TCP sockets of this network namespace (proc(5)).
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The user and the group of the packaged agent.
const AGENT: &str = "modemfleet";

/// A file that the agent makes in its queue's folder.
const MADE: &str = "queue.lock";

/// States of a socket (`include/net/tcp_states.h`).
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// The users whose programs count as the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owners(Vec<u32>);

impl Owners {
    /// Returns the trusted users. Root may open the port for the agent. The others are this user,
    /// and the agent's user by its name and by the queue's folder.
    pub(super) fn of(queue: Option<&Path>) -> Self {
        let mut own = vec![0, geteuid().as_raw()];
        own.extend(accounts::user_number(AGENT));
        own.extend(queue.map(owners).unwrap_or_default());
        Self(own)
    }

    /// Returns a description of the first user outside this list that has the other end of the
    /// connection from `here` to `there`. Returns `None` for another machine, since its tables
    /// cannot be read.
    ///
    /// A connection in no table counts as a stranger's. A program that took a connection may close
    /// its listener and the other direction, and then no table shows its owner.
    pub(super) fn stranger(&self, here: SocketAddr, there: SocketAddr) -> Option<String> {
        if !there.ip().is_loopback() && here.ip() != there.ip() {
            return None;
        }
        let tables = TABLES.iter().filter_map(|table| fs::read_to_string(table).ok());
        let users: Vec<u32> = tables.flat_map(|table| users(&table, here, there)).collect();
        if users.is_empty() {
            return Some("an unknown user".to_owned());
        }
        users.into_iter().find(|user| !self.0.contains(user)).map(accounts::describe_user)
    }
}

/// Returns the owners of the queue's folder and of the file that the agent made in it. In a folder
/// that others may write to, sticky or not, any user could make these names. Their owner proves
/// nothing there.
fn owners(queue: &Path) -> Vec<u32> {
    let Some(folder) = queue.ancestors().find_map(|path| fs::canonicalize(path).ok()) else {
        return Vec::new();
    };
    let is_closed =
        |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.mode() & OTHERS_WRITE == 0);
    if !folder.ancestors().skip(1).all(is_closed) {
        return Vec::new();
    }
    let made = is_closed(&folder).then(|| queue.join(MADE));
    let owner = |path: PathBuf| fs::metadata(path).ok().map(|meta| meta.uid());
    [Some(folder), made].into_iter().flatten().filter_map(owner).collect()
}

/// Returns the users of the sockets that listen for `there`, and of the socket that `here` is
/// connected to. The program that took the connection may have closed its listener since.
fn users(table: &str, here: SocketAddr, there: SocketAddr) -> Vec<u32> {
    let (here, there) = (plain(here), plain(there));
    let user = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, _, _, _, user, ..] = fields[..] else { return None };
        let local = address(local)?;
        let is_meant = match state {
            LISTEN => local.port() == there.port() && is_for(local.ip(), there.ip()),
            ESTABLISHED => local == there && address(remote)? == here,
            _ => false,
        };
        is_meant.then(|| user.parse().ok())?
    };
    table.lines().filter_map(user).collect()
}

/// Reports whether a socket bound to `bound` receives traffic for `ip`.
fn is_for(bound: IpAddr, ip: IpAddr) -> bool {
    bound == ip || bound.is_unspecified()
}

/// Returns an IPv4 address that is written as IPv6 in its plain form.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Parses an address of the tables, `0100007F:2652`: each four bytes are a number in this machine's
/// byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).map(u32::to_ne_bytes).ok();
    let ip: IpAddr = match ip.len() {
        8 => word(0)?.into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(plain(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2652 00000000:0000 0A 00000000:00000000 00:00000000 00000000   990        0 1 1 0 100 0 0 10 0
   1: 0100007F:2652 0100007F:A000 01 00000000:00000000 00:00000000 00000000   991        0 2 1 0 100 0 0 10 0
   2: 0100007F:2652 0100007F:A001 01 00000000:00000000 00:00000000 00000000   992        0 3 1 0 100 0 0 10 0
   3: 0100007F:A000 0100007F:2652 01 00000000:00000000 00:00000000 00000000  1000        0 4 1 0 100 0 0 10 0
   4: 00000000:2653 00000000:0000 0A 00000000:00000000 00:00000000 00000000   993        0 5 1 0 100 0 0 10 0
   5: 0200007F:2652 00000000:0000 0A 00000000:00000000 00:00000000 00000000   994        0 6 1 0 100 0 0 10 0
   6: nonsense
";

    #[cfg(target_endian = "little")]
    const TABLE6: &str = "\
   0: 00000000000000000000000000000000:2654 00000000000000000000000000000000:0000 0A 0:0 0:0 0   995        0 1
   1: 0000000000000000FFFF00000100007F:2654 0000000000000000FFFF00000100007F:A000 01 0:0 0:0 0   996        0 1
   2: 00000000000000000000000001000000:2655 00000000000000000000000000000000:0000 0A 0:0 0:0 0   997        0 1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn who_listens_and_who_took_the_connection_is_read_from_the_tables() {
        let here: SocketAddr = "127.0.0.1:40960".parse().unwrap();
        for (table, there, expected) in [
            (TABLE, "127.0.0.1:9810", &[990, 991][..]),
            (TABLE, "127.0.0.2:9810", &[994]),
            (TABLE, "127.0.0.1:9811", &[993]),
            (TABLE, "127.0.0.1:1", &[]),
            (TABLE6, "127.0.0.1:9812", &[995, 996]),
            (TABLE6, "[::1]:9813", &[997]),
            (TABLE6, "127.0.0.1:9813", &[]),
        ] {
            assert_eq!(users(table, here, there.parse().unwrap()), expected, "{there}");
        }
    }

    #[test]
    fn whose_a_folder_is_counts_only_where_no_other_may_make_it() {
        // The kernel's folder of this process, to which no user may write.
        assert_eq!(owners(Path::new("/proc/self/none")), [geteuid().as_raw()]);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MADE), "").unwrap();
        let give = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
        for mode in [0o777, 0o1777, 0o770, 0o722] {
            give(mode).unwrap();
            assert!(owners(dir.path()).len() < 2, "{mode:o}: what is made there counts");
            let below = dir.path().join("below");
            fs::create_dir_all(&below).unwrap();
            assert!(owners(&below).is_empty(), "{mode:o}: a folder counts");
        }
    }

    #[test]
    fn what_this_user_listens_at_is_no_strangers() {
        for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let port = listener.local_addr().unwrap().port();
            let host = if at.starts_with('[') { "::1" } else { "127.0.0.1" };
            let stream = TcpStream::connect((host, port)).unwrap();
            let (here, there) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let own = geteuid().as_raw();
            assert_eq!(Owners::of(None).stranger(here, there), None, "{at}");
            let stranger = Owners(vec![own + 1]).stranger(here, there);
            assert_eq!(stranger, Some(accounts::describe_user(own)), "{at}");
            let (taken, _) = listener.accept().unwrap();
            drop(listener);
            assert_eq!(Owners::of(None).stranger(here, there), None, "{at}");
            taken.shutdown(Shutdown::Write).unwrap();
            let unseen = Owners::of(None).stranger(here, there);
            assert!(unseen.is_some_and(|user| user.contains("an unknown user")), "{at}");
        }
        let far = |text: &str| text.parse::<SocketAddr>().unwrap();
        let none = Owners(Vec::new());
        assert_eq!(none.stranger(far("192.0.2.1:5000"), far("192.0.2.2:9810")), None);
    }
}
