//! A disk with faults for one process: slow syncs, failing writes, or no room.
//!
//! This library is preloaded (`LD_PRELOAD`) and built by `rustc --crate-type cdylib`. It replaces
//! calls of the C library, so it misses programs that make their own system calls. SQLite uses the
//! C library. A file that `FAULTY_DISK_CONTROL` names sets the faults. It is mapped into memory and
//! read at each call: 32-bit words in the machine's byte order, see [`Word`]. Only files below the
//! folder `FAULTY_DISK_FOLDER` have faults.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The words of the control file, by their position.
#[derive(Clone, Copy)]
enum Word {
    /// The duration of a sync, in milliseconds. A smaller value also ends the syncs that are under
    /// way.
    SyncTakes = 0,
    /// The error number with which each sync fails, or 0.
    SyncFails = 1,
    /// The error number with which each write fails, or 0.
    WriteFails = 2,
    /// Not 0 if the file system is full, except for [`Word::Room`].
    Full = 3,
    /// The number of syncs that began.
    Begun = 4,
    /// The number of syncs that ended.
    Ended = 5,
    /// While the disk is full: the blocks that files gave back, which are free again.
    Room = 6,
}

const WORDS: usize = 7;

/// The allocation unit of the file system, in bytes.
const BLOCK: u64 = 4096;
const ENOSPC: c_int = 28;
const STEP: Duration = Duration::from_millis(2);
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const READ_WRITE: c_int = 3;
const SHARED: c_int = 1;
const FROM_HERE: c_int = 1;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn mmap(
        at: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn lseek64(fd: c_int, offset: i64, whence: c_int) -> i64;
    fn __errno_location() -> *mut c_int;
}

struct Control {
    words: &'static [AtomicU32; WORDS],
    folder: PathBuf,
}

impl Control {
    /// Returns the control and the folder that the environment names; `None` if it names none.
    fn open() -> Option<Self> {
        let folder = std::env::var_os("FAULTY_DISK_FOLDER")?;
        let path = std::env::var_os("FAULTY_DISK_CONTROL")?;
        let file = File::options().read(true).write(true).open(path).ok()?;
        if file.metadata().ok()?.len() < (WORDS * size_of::<AtomicU32>()) as u64 {
            return None;
        }
        // SAFETY: this is a new mapping of a file that is long enough. It lives as long as the
        // process.
        let at =
            unsafe { mmap(std::ptr::null_mut(), 4096, READ_WRITE, SHARED, file.as_raw_fd(), 0) };
        if at as isize == -1 {
            return None;
        }
        // SAFETY: a mapping begins at a page, and other processes change it by whole words at most.
        Some(Self { words: unsafe { &*at.cast() }, folder: folder.into() })
    }

    fn get(&self, word: Word) -> u32 {
        self.words[word as usize].load(Ordering::SeqCst)
    }

    fn count(&self, word: Word) {
        self.words[word as usize].fetch_add(1, Ordering::SeqCst);
    }

    fn has(&self, fd: c_int) -> bool {
        let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
        link.is_ok_and(|path| is_below(&path, &self.folder))
    }

    /// Takes the room that a file with this end needs; returns `true` if there is too little.
    fn lacks_room(&self, fd: c_int, end: u64) -> bool {
        let Some(held) = length(fd) else { return false };
        let more = end.div_ceil(BLOCK).saturating_sub(held.div_ceil(BLOCK));
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let room = &self.words[Word::Room as usize];
        let take = |room: u32| room.checked_sub(more);
        room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err()
    }

    /// Frees the blocks that a file gives back when it is cut to this length.
    fn gives_back(&self, fd: c_int, end: u64) {
        let Some(held) = length(fd) else { return };
        let less = held.div_ceil(BLOCK).saturating_sub(end.div_ceil(BLOCK));
        let less = u32::try_from(less).unwrap_or(u32::MAX);
        self.words[Word::Room as usize].fetch_add(less, Ordering::SeqCst);
    }
}

/// Returns the length of an open file in bytes; `None` if it is not a regular file.
fn length(fd: c_int) -> Option<u64> {
    // SAFETY: the descriptor is only inspected, and not closed.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len())
}

/// `starts_with` by bytes: the name of a deleted file has a suffix.
fn is_below(path: &Path, folder: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(folder.as_os_str().as_bytes())
}

fn control() -> Option<&'static Control> {
    static CONTROL: OnceLock<Option<Control>> = OnceLock::new();
    CONTROL.get_or_init(Control::open).as_ref()
}

fn fail(number: c_int) -> c_int {
    // SAFETY: this is the C library's own `errno` of this thread.
    unsafe { *__errno_location() = number };
    -1
}

/// Returns the error for a write that ends `count` bytes behind `offset`, if one is due.
fn write_error(fd: c_int, offset: impl FnOnce() -> i64, count: usize) -> Option<c_int> {
    let control = control()?;
    let (fails, full) = (control.get(Word::WriteFails), control.get(Word::Full));
    if (fails == 0 && full == 0) || !control.has(fd) {
        return None;
    }
    if fails != 0 {
        return i32::try_from(fails).ok();
    }
    let end = u64::try_from(offset()).unwrap_or(0) + count as u64;
    control.lacks_room(fd, end).then_some(ENOSPC)
}

/// Returns the error for a change of the length, if one is due. If the file gets shorter, its
/// blocks become free.
fn truncate_error(fd: c_int, end: i64) -> Option<c_int> {
    let error = write_error(fd, || end, 0);
    if let Some(control) = control()
        && error.is_none()
        && control.get(Word::Full) != 0
        && control.has(fd)
    {
        control.gives_back(fd, u64::try_from(end).unwrap_or(0));
    }
    error
}

/// Waits for the duration of a sync, and returns the error that is due, if any.
fn sync_error(of: impl FnOnce(&Control) -> bool) -> Option<c_int> {
    let control = control().filter(|control| of(control))?;
    control.count(Word::Begun);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(control.get(Word::SyncTakes).into()) {
        std::thread::sleep(STEP);
    }
    control.count(Word::Ended);
    i32::try_from(control.get(Word::SyncFails)).ok().filter(|error| *error != 0)
}

/// Returns the address of the C library's own function of this name.
fn next(name: &CStr, known: &'static OnceLock<usize>) -> usize {
    // SAFETY: the name ends with a zero byte.
    *known.get_or_init(|| unsafe { dlsym(RTLD_NEXT, name.as_ptr()) } as usize)
}

/// Defines functions with the names and arguments of the C library, which check for a fault first.
macro_rules! before {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty, $error:expr;)*) => {$(
        #[doc = "As the C library's, after the fault that is due."]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            static NEXT: OnceLock<usize> = OnceLock::new();
            if let Some(error) = $error {
                return fail(error) as $result;
            }
            let next = next(
                // SAFETY: `concat!` adds the only zero byte, at the end.
                unsafe { CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes()) },
                &NEXT,
            );
            // SAFETY: the function of this name has these arguments.
            let next: unsafe extern "C" fn($($type),*) -> $result = unsafe { std::mem::transmute(next) };
            unsafe { next($($argument),*) }
        }
    )*};
}

before! {
    fsync(fd: c_int) -> c_int, sync_error(|control| control.has(fd));
    fdatasync(fd: c_int) -> c_int, sync_error(|control| control.has(fd));
    sync_file_range(fd: c_int, offset: i64, count: i64, flags: u32) -> c_int, sync_error(|control| control.has(fd));
    msync(at: *mut c_void, count: usize, flags: c_int) -> c_int, sync_error(|_| true);
    write(fd: c_int, bytes: *const c_void, count: usize) -> isize,
        // SAFETY: the call only returns the position.
        write_error(fd, || unsafe { lseek64(fd, 0, FROM_HERE) }, count);
    pwrite(fd: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize, write_error(fd, || offset, count);
    pwrite64(fd: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize, write_error(fd, || offset, count);
    ftruncate(fd: c_int, length: i64) -> c_int, truncate_error(fd, length);
    ftruncate64(fd: c_int, length: i64) -> c_int, truncate_error(fd, length);
    fallocate(fd: c_int, mode: c_int, offset: i64, count: i64) -> c_int,
        write_error(fd, || offset, count as usize);
    fallocate64(fd: c_int, mode: c_int, offset: i64, count: i64) -> c_int,
        write_error(fd, || offset, count as usize);
}

/// As the C library's, after the fault that is due. It returns the error itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate(fd: c_int, offset: i64, count: i64) -> c_int {
    // SAFETY: the caller keeps the same contract. Without a mode, `fallocate64` does the same.
    match unsafe { fallocate64(fd, 0, offset, count) } {
        0 => 0,
        // SAFETY: this is the C library's own `errno` of this thread.
        _ => unsafe { *__errno_location() },
    }
}

/// As [`posix_fallocate`], under its other name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate64(fd: c_int, offset: i64, count: i64) -> c_int {
    // SAFETY: the caller keeps the same contract.
    unsafe { posix_fallocate(fd, offset, count) }
}
