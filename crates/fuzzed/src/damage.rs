//! Damage to a database and its log, as an input describes it: flipped bits, lost and misplaced
//! pages, files that are cut.

use std::fs;
use std::path::Path;

use crate::input::Bytes;

/// The size of a block that is lost or misplaced as a whole; pages may be smaller.
const PAGE: usize = 4096;

/// Damages of one input.
const DAMAGES: usize = 16;

/// Reads the database and its log; a missing file is empty.
pub(crate) fn read(dir: &Path, names: [&str; 2]) -> [Vec<u8>; 2] {
    names.map(|name| fs::read(dir.join(name)).unwrap_or_default())
}

/// Writes the files; an empty file is left out.
pub(crate) fn write(dir: &Path, names: [&str; 2], files: &[Vec<u8>; 2]) {
    for (name, bytes) in names.iter().zip(files).filter(|(_, bytes)| !bytes.is_empty()) {
        fs::write(dir.join(name), bytes).expect("room in memory");
    }
}

/// Changes the database and its log. Each damage has four bytes for its kind and place, and some
/// kinds have more bytes behind them.
pub(crate) fn damage(files: &mut [Vec<u8>; 2], input: &[u8]) {
    let mut input = Bytes(input);
    for _ in 0..DAMAGES {
        if input.is_empty() {
            break;
        }
        let (how, place) = (input.byte(), input.number());
        let [database, log] = &mut *files;
        let file = if how & 0x80 == 0 { database } else { log };
        if !file.is_empty() {
            change(file, how, place, &mut input);
        }
    }
}

fn change(file: &mut Vec<u8>, how: u8, place: usize, input: &mut Bytes<'_>) {
    let at = place % file.len();
    let page = at / PAGE * PAGE;
    let end = (page + PAGE).min(file.len());
    let few = usize::from(how >> 3 & 0x0f) + 1;
    match how & 0x07 {
        0 => file[at] ^= 1 << (how >> 3 & 7),
        1 => file[at] = input.byte(),
        2 => over(file, at, input.take(few)),
        3 => file[page..end].fill(0),
        4 => {
            let other = input.number() % file.len() / PAGE * PAGE;
            let copied = file[page..end].to_vec();
            over(file, other, &copied);
        }
        5 => file.truncate(at),
        6 => file.truncate(page),
        _ => file.extend(input.take(few)),
    }
}

/// Overwrites bytes of the file, and not beyond its end.
fn over(file: &mut [u8], at: usize, bytes: &[u8]) {
    file.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = *new);
}
