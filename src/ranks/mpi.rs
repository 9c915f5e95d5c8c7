//! Ranks that are processes of an MPI job, on one machine or on many, as `mpirun`, `mpiexec` or `srun` starts them.
//!
//! The MPI library is loaded when the program runs, so that one program serves all of them and none is needed to build
//! it. There are three binary interfaces, whose handles differ: Open MPI's are addresses of the library's objects, MPICH's
//! (which Intel MPI, MVAPICH and Cray MPI share) are numbers, and those of MPI 5's standard interface are other numbers.
//!
//! One thread makes all MPI calls. It has nothing else to do, so that what is on its way goes on moving while the
//! others compute: with some libraries it only does inside a call. It also keeps an eye on who waits for whom.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use core::time::Duration;
use std::collections::VecDeque;
use std::env;
use std::error::Error as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::mailbox::Mailbox;
use super::watchdog::Watchdog;
use super::{Lane, Ranks, Traffic};
use crate::error::{Error, Result};

/// The library to load, for whoever wants another than the launcher's.
pub const LIBRARY: &str = "INSTRUCTGPT_MPI";

/// A rank of an MPI job.
pub struct Mpi {
    rank: usize,
    size: usize,
    host: String,
    loaded: String,
    orders: Sender<Order>,
    own: Arc<Mailbox>,
}

/// What the thread of MPI is told.
enum Order {
    Send(Lane, Vec<u32>),
    /// Everything is sent; says so when MPI has ended.
    End(Sender<()>),
    /// Ends the job, all of its ranks.
    Abort(u8),
}

impl Mpi {
    /// The rank that this process is, as a launcher has started it. `accuse` is told once a minute has passed of who keeps
    /// the others waiting: on one of the ranks that wait.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no MPI library that can be used.
    pub fn start(accuse: fn(&[usize])) -> Result<&'static Mpi> {
        let (orders, told) = channel();
        let own = Arc::<Mailbox>::default();
        let (started, start) = channel();
        let mailbox = own.clone();
        let body = move || match Calls::load() {
            Err(error) => drop(started.send(Err(error))),
            Ok((calls, host, library)) => {
                let _ = started.send(Ok((calls.rank, calls.size, host, library)));
                calls.serve(&told, &mailbox, accuse);
            }
        };
        let failed = |error: &dyn ToString| Error::device("a thread for MPI", error.to_string(), "");
        thread::Builder::new().name("mpi".into()).spawn(body).map_err(|error| failed(&error))?;
        let (rank, size, host, library) = start.recv().map_err(|error| failed(&error))??;
        Ok(Box::leak(Box::new(Mpi { rank, size, host, loaded: library, orders, own })))
    }

    /// The library that was loaded.
    pub fn library(&self) -> &str {
        &self.loaded
    }

    /// Ends MPI, when all messages have been sent; all ranks must call it.
    pub fn end(&self) {
        let (done, ended) = channel();
        if self.orders.send(Order::End(done)).is_ok() {
            let _ = ended.recv();
        }
    }

    /// Ends the job with all its ranks, and this process with it.
    pub fn abort(&self, code: u8) -> ! {
        let _ = self.orders.send(Order::Abort(code));
        // MPI_Abort ends the process; should it not, so do we.
        thread::sleep(Duration::from_secs(10));
        std::process::exit(code.into())
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&self, lane: Lane, message: Vec<u32>) {
        self.orders.send(Order::Send(lane, message)).expect("the thread of MPI serves to the end");
    }

    fn receive(&self, lane: Lane) -> Vec<u32> {
        self.own.take(lane)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn traffic(&self) -> Traffic {
        self.own.traffic()
    }
}

/// The tags of messages: a lane's, and of what the watchdogs tell each other.
const WATCHDOG: c_int = 2;

/// A communicator or a data type: an address, or a number in its lower half.
type Handle = usize;
/// A request in transit.
type Request = usize;
/// Room for a status of either family.
type Status = [u64; 8];

type Transfer = unsafe extern "C" fn(*const u32, c_int, Handle, c_int, c_int, Handle, *mut Request) -> c_int;
type Receive = unsafe extern "C" fn(*mut u32, c_int, Handle, c_int, c_int, Handle, *mut Status) -> c_int;
type Probe = unsafe extern "C" fn(c_int, c_int, Handle, *mut c_int, *mut Status) -> c_int;
type Test = unsafe extern "C" fn(*mut Request, *mut c_int, *mut Status) -> c_int;
type Count = unsafe extern "C" fn(*const Status, Handle, *mut c_int) -> c_int;

/// What differs between the binary interfaces.
struct Interface {
    name: &'static str,
    world: Handle,
    byte: Handle,
    /// One thread makes all calls: MPI_THREAD_FUNNELED.
    funneled: c_int,
}

impl Interface {
    fn of(library: &Library, name: &str) -> Interface {
        // SAFETY: only the addresses of these objects are used, whatever they hold.
        let address = |name: &str| {
            let symbol = unsafe { library.get::<*const c_void>(name) };
            symbol.ok().map(|symbol| symbol.into_raw() as Handle)
        };
        if name.contains("mpi_abi") {
            return Interface { name: "MPI 5", world: 0x101, byte: 0x247, funneled: 1024 };
        }
        match (address("ompi_mpi_comm_world"), address("ompi_mpi_byte")) {
            (Some(world), Some(byte)) => Interface { name: "Open MPI", world, byte, funneled: 1 },
            _ => Interface { name: "MPICH", world: 0x4400_0000, byte: 0x4c00_010d, funneled: 1 },
        }
    }
}

/// The functions of an MPI library, and what it says of this process.
struct Calls {
    rank: usize,
    size: usize,
    world: Handle,
    byte: Handle,
    isend: Transfer,
    recv: Receive,
    iprobe: Probe,
    test: Test,
    get_count: Count,
    finalize: unsafe extern "C" fn() -> c_int,
    abort: unsafe extern "C" fn(Handle, c_int) -> c_int,
}

impl Calls {
    /// Loads the library, and begins; with the host's name and the library's.
    fn load() -> Result<(Calls, String, String)> {
        let wrong = |found: String| {
            let hint =
                format!("install Open MPI 4 or later or MPICH 3 or later, or name the library in {LIBRARY}");
            Error::device("an MPI library, as a launcher of MPI started this program", found, hint)
        };
        let open_mpi = &["libmpi.so.40"][..];
        let mpich = &["libmpi.so.12", "libmpich.so.12"][..];
        let standard = &["libmpi_abi.so.1", "libmpi_abi.so.0"][..];
        let own = env::var(LIBRARY);
        let names: Vec<&str> = match &own {
            Ok(name) => vec![name],
            Err(_) if env::var_os("OMPI_COMM_WORLD_SIZE").is_some() => [open_mpi, standard].concat(),
            Err(_) if env::var_os("PMI_RANK").is_some() => [mpich, standard].concat(),
            Err(_) => [open_mpi, mpich, standard].concat(),
        };
        let mut reasons = Vec::new();
        for name in names {
            // SAFETY: an MPI library's initialisers may run in any process. Open MPI's plug-ins find it by RTLD_GLOBAL.
            match unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) } {
                // SAFETY: the library is an MPI library by its name, and this thread makes all calls.
                Ok(library) => return unsafe { Calls::begin(library, name) }.map_err(wrong),
                Err(error) => reasons.push(error.source().map_or(error.to_string(), ToString::to_string)),
            }
        }
        Err(wrong(reasons.join("; ")))
    }

    /// # Safety
    /// `library` must be an MPI library, and the calling thread the only one that ever calls it.
    unsafe fn begin(library: Library, name: &str) -> core::result::Result<(Calls, String, String), String> {
        // It stays to the end of the process: its threads may outlive any owner.
        let library: &'static Library = Box::leak(Box::new(library));
        let Interface { name: interface, world, byte, funneled } = Interface::of(library, name);
        // SAFETY: these are the types that the MPI standard gives the functions, with handles as wide as any interface's;
        // where a handle is an int, the callee reads the lower half of the register or of the little-endian word. No
        // library's longest host name is longer than this room.
        unsafe {
            let init: unsafe extern "C" fn(usize, usize, c_int, *mut c_int) -> c_int =
                function(library, "MPI_Init_thread")?;
            let rank_of: unsafe extern "C" fn(Handle, *mut c_int) -> c_int =
                function(library, "MPI_Comm_rank")?;
            let size_of: unsafe extern "C" fn(Handle, *mut c_int) -> c_int =
                function(library, "MPI_Comm_size")?;
            let host_of: unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int =
                function(library, "MPI_Get_processor_name")?;
            let (mut provided, mut rank, mut size, mut length) = (-1, 0, 0, 0);
            let mut host = [0u8; 1024];
            init(0, 0, funneled, &mut provided);
            rank_of(world, &mut rank);
            size_of(world, &mut size);
            host_of(host.as_mut_ptr().cast(), &mut length);
            if provided < funneled || size < 1 {
                return Err(format!("{name}, which allows no threads"));
            }
            let calls = Calls {
                rank: rank as usize,
                size: size as usize,
                world,
                byte,
                isend: function(library, "MPI_Isend")?,
                recv: function(library, "MPI_Recv")?,
                iprobe: function(library, "MPI_Iprobe")?,
                test: function(library, "MPI_Test")?,
                get_count: function(library, "MPI_Get_count")?,
                finalize: function(library, "MPI_Finalize")?,
                abort: function(library, "MPI_Abort")?,
            };
            let host = String::from_utf8_lossy(&host[..length as usize]).into_owned();
            Ok((calls, host, format!("{name} ({interface}'s interface)")))
        }
    }

    /// Sends what it is told to and fills the mailbox, to the end. An error inside MPI ends the job: its default.
    fn serve(&self, orders: &Receiver<Order>, own: &Mailbox, accuse: fn(&[usize])) {
        let mut on_the_way: VecDeque<(Request, Vec<u32>)> = VecDeque::new();
        let mut watchdog = Watchdog::new(self.rank, self.size);
        let (next, before) = ((self.rank + 1) % self.size, (self.rank + self.size - 1) % self.size);
        let (mut ends, mut idle, mut other) = (None, 0, 0);
        loop {
            let waits = own.waits();
            // A rank without others has nothing to look for, and one that computes can wait a little.
            let pause = match idle {
                _ if self.size == 1 => Duration::from_secs(3600),
                0..=50 => Duration::ZERO,
                _ if waits.is_some() || !on_the_way.is_empty() => Duration::from_micros(20),
                _ => Duration::from_micros(200),
            };
            idle += 1;
            match orders.recv_timeout(pause) {
                Ok(Order::Send(lane, message)) => {
                    idle = 0;
                    on_the_way.push_back((self.send(next, lane as c_int, &message), message));
                }
                Ok(Order::End(done)) => ends = Some(done),
                Ok(Order::Abort(code)) => {
                    // SAFETY: MPI has begun, and this is its thread.
                    unsafe { (self.abort)(self.world, code.into()) };
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if idle > 0 && pause.is_zero() {
                thread::yield_now();
            }
            for lane in [Lane::Gradient, Lane::Findings] {
                if let Some(message) = self.receive(before, lane as c_int) {
                    idle = 0;
                    own.put(lane, message);
                }
            }
            // One of the others each time: complaints come from any of them, and have time.
            other = (other + 1) % self.size;
            if let Some(message) = self.receive(other, WATCHDOG) {
                watchdog.hear(other, message[0] != 0);
            }
            if let Some(complains) = watchdog.look(waits) {
                for rank in (0..self.size).filter(|rank| *rank != self.rank) {
                    let message = vec![u32::from(complains)];
                    on_the_way.push_back((self.send(rank, WATCHDOG, &message), message));
                }
            }
            watchdog.accuse(waits).iter().for_each(|ranks| accuse(ranks));
            while on_the_way.front_mut().is_some_and(|(request, _)| self.is_done(request)) {
                on_the_way.pop_front();
            }
            if let Some(done) = ends.take_if(|_| on_the_way.is_empty()) {
                // SAFETY: MPI has begun, and this is its thread.
                unsafe { (self.finalize)() };
                let _ = done.send(());
                return;
            }
        }
    }

    /// Begins to send. The message must stay where it is until it is done.
    fn send(&self, to: usize, tag: c_int, message: &[u32]) -> Request {
        let (to, mut request) = (to as c_int, 0);
        let (words, length) = (message.as_ptr(), bytes(message.len()));
        // SAFETY: the message stays in memory until the request is done, as [`Calls::serve`] keeps it.
        unsafe { (self.isend)(words, length, self.byte, to, tag, self.world, &mut request) };
        request
    }

    /// The next message of a rank, if one is there.
    fn receive(&self, from: usize, tag: c_int) -> Option<Vec<u32>> {
        if from == self.rank {
            return None;
        }
        let (from, mut is_there, mut count, mut status) = (from as c_int, 0, 0, Status::default());
        // SAFETY: the message that was looked at is received into as much memory as it needs.
        unsafe {
            (self.iprobe)(from, tag, self.world, &mut is_there, &mut status);
            if is_there == 0 {
                return None;
            }
            (self.get_count)(&status, self.byte, &mut count);
            let mut message = vec![0; count as usize / 4];
            let words = message.as_mut_ptr();
            (self.recv)(words, count, self.byte, from, tag, self.world, &mut status);
            Some(message)
        }
    }

    fn is_done(&self, request: &mut Request) -> bool {
        let (mut done, mut status) = (0, Status::default());
        // SAFETY: the request is one that was begun, and is not asked about again once it is done.
        unsafe { (self.test)(ptr::from_mut(request), &mut done, &mut status) };
        done != 0
    }
}

/// The bytes of a message, as MPI counts.
fn bytes(words: usize) -> c_int {
    c_int::try_from(4 * words).expect("a message below 2 GiB")
}

/// # Safety
/// `T` must be the function's type.
unsafe fn function<T: Copy>(library: &'static Library, name: &str) -> core::result::Result<T, String> {
    // SAFETY: as the caller promises.
    unsafe { library.get::<T>(name) }.map(|symbol| *symbol).map_err(|error| error.to_string())
}
