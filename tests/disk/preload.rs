//! A disk with faults for one process: its syncs take time, its writes fail, its files cannot grow.
//!
//! A library to be preloaded (`LD_PRELOAD`), built by `rustc --crate-type cdylib`. It stands before the C library's
//! calls, so it does not see a program that makes its system calls by itself; SQLite does not. What is to
//! happen stands in a file that `FAULTY_DISK_CONTROL` names, mapped into memory and read at each call: 32-bit
//! words in the machine's order, see [`Word`]. Only files below the folder `FAULTY_DISK_FOLDER` have faults.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The words of the control file, by their place.
#[derive(Clone, Copy)]
enum Word {
    /// A sync takes this many milliseconds; made smaller it also ends the syncs that are under way.
    SyncTakes = 0,
    /// If it is not 0: each sync fails with this error number.
    SyncFails = 1,
    /// If it is not 0: each write fails with this error number.
    WriteFails = 2,
    /// If it is not 0: the file system is full but for [`Word::Room`].
    Full = 3,
    /// Counts the syncs that began.
    Begun = 4,
    /// Counts the syncs that ended.
    Ended = 5,
    /// While it is full: the blocks that its files gave back and that are free for them again.
    Room = 6,
}

const WORDS: usize = 7;

/// The unit in which a file system gives space, in bytes.
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
    /// Returns what the environment names; `None` where it names nothing.
    fn open() -> Option<Self> {
        let folder = std::env::var_os("FAULTY_DISK_FOLDER")?;
        let path = std::env::var_os("FAULTY_DISK_CONTROL")?;
        let file = File::options().read(true).write(true).open(path).ok()?;
        if file.metadata().ok()?.len() < (WORDS * size_of::<AtomicU32>()) as u64 {
            return None;
        }
        // SAFETY: a new mapping of a file that is long enough, which stays as long as the process.
        let at =
            unsafe { mmap(std::ptr::null_mut(), 4096, READ_WRITE, SHARED, file.as_raw_fd(), 0) };
        if at as isize == -1 {
            return None;
        }
        // SAFETY: a mapping begins at a page, and others change it by whole words at most.
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

    /// Reports whether there is no room for a file that ends here; takes what room it needs.
    fn lacks_room(&self, fd: c_int, end: u64) -> bool {
        let Some(held) = length(fd) else { return false };
        let more = end.div_ceil(BLOCK).saturating_sub(held.div_ceil(BLOCK));
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let room = &self.words[Word::Room as usize];
        let take = |room: u32| room.checked_sub(more);
        room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err()
    }

    /// A file becomes as short as this: what it gives back is free.
    fn gives_back(&self, fd: c_int, end: u64) {
        let Some(held) = length(fd) else { return };
        let less = held.div_ceil(BLOCK).saturating_sub(end.div_ceil(BLOCK));
        let less = u32::try_from(less).unwrap_or(u32::MAX);
        self.words[Word::Room as usize].fetch_add(less, Ordering::SeqCst);
    }
}

/// The bytes of an open file; `None` if it is no regular one.
fn length(fd: c_int) -> Option<u64> {
    // SAFETY: it is only looked at, and not closed.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len())
}

/// `starts_with` by bytes: a file that was deleted has more behind its name.
fn is_below(path: &Path, folder: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(folder.as_os_str().as_bytes())
}

fn control() -> Option<&'static Control> {
    static CONTROL: OnceLock<Option<Control>> = OnceLock::new();
    CONTROL.get_or_init(Control::open).as_ref()
}

fn fail(number: c_int) -> c_int {
    // SAFETY: the C library's own place of this thread.
    unsafe { *__errno_location() = number };
    -1
}

/// The error that a write is to fail with that ends so many bytes behind this place.
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

/// The error that a change of the length is to fail with. Its end is not behind it, so a shorter file gives back.
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

/// Takes the time of a sync; the error that it is to fail with.
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

/// The C library's own function of this name.
fn next(name: &CStr, known: &'static OnceLock<usize>) -> usize {
    // SAFETY: a name that ends with a zero byte.
    *known.get_or_init(|| unsafe { dlsym(RTLD_NEXT, name.as_ptr()) } as usize)
}

/// A function of the C library with the same name and arguments, asked for an error before it is called.
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
                // SAFETY: `concat!` ends it with its only zero byte.
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
        // SAFETY: it only tells the place.
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

/// As the C library's, which answers the error itself, after the fault that is due.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate(fd: c_int, offset: i64, count: i64) -> c_int {
    // SAFETY: as for our caller. Without a mode it does what this one does.
    match unsafe { fallocate64(fd, 0, offset, count) } {
        0 => 0,
        // SAFETY: the C library's own place of this thread.
        _ => unsafe { *__errno_location() },
    }
}

/// The same by its other name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate64(fd: c_int, offset: i64, count: i64) -> c_int {
    // SAFETY: as for our caller.
    unsafe { posix_fallocate(fd, offset, count) }
}
