//! Users and groups of this machine, from passwd(5) and group(5).

use std::fs;

/// The table of users.
const PASSWD: &str = "/etc/passwd";

/// Returns the number of the user with this name.
pub fn user_number(name: &str) -> Option<u32> {
    let text = fs::read_to_string(PASSWD).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Returns the name of the user with this number.
pub fn user_name(uid: u32) -> Option<String> {
    name_of(PASSWD, uid)
}

/// Returns the name of the group with this number, or the number if it has none.
pub fn group_name(gid: u32) -> String {
    name_of("/etc/group", gid).unwrap_or_else(|| gid.to_string())
}

/// Describes the user with this number by name and number.
pub fn describe_user(uid: u32) -> String {
    match user_name(uid) {
        Some(name) => format!("the user {name} (uid {uid})"),
        None => format!("the user of uid {uid}"),
    }
}

/// Returns the name for a number: the first and the third field of each line.
fn name_of(table: &str, number: u32) -> Option<String> {
    let text = fs::read_to_string(table).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}
