//! NVIDIA's library of switches (NSCQ, API version 2), loaded at run time by the name that the driver's installation gives it.
//! Nothing here was run against a switch.
//!
//! ```text
//! session_create(1)                            a session, with every switch in it
//! path_observe(session, path, callback, data)  calls back once for each switch that the path names
//!   /drv/nvswitch/{device}/uuid                (device, rc, uuid *)
//!   /SWITCH/config/pcie_mode                   (device, rc, i8)            bit 0 confidential mode, bit 1 locked
//!   /SWITCH/config/certificate                 (device, rc, certificate)   by value
//!   /SWITCH/config/attestation_report          (device, rc, report)        by value; for the nonce of set_input
//! ```
//!
//! Source: the headers that NVIDIA publishes with nvtrust (`nscq_attestation.h`, `nscq_attestation_path.h`) and its own use of
//! them.

use std::ffi::{CStr, CString, OsStr, c_char, c_void};

use libloading::Library;

use super::{GpuError, RawGpu};

/// Of this process; only the thread that opened it asks it.
pub(crate) struct Nscq {
    functions: Functions,
    session: *mut c_void,
    /// What the functions are in. Dropped last.
    _library: Library,
}

/// What is called.
struct Functions {
    destroy: unsafe extern "C" fn(*mut c_void),
    observe: Observe,
    input: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u32) -> i8,
    label: unsafe extern "C" fn(*const Uuid, *mut Label, u32) -> i8,
}

type Create = unsafe extern "C" fn(u32) -> Created;
type Observe = unsafe extern "C" fn(*mut c_void, *const c_char, Callback, *mut c_void, u32) -> i8;
/// Every callback goes by this type.
type Callback = unsafe extern "C" fn();

#[repr(C)]
struct Created {
    rc: i8,
    session: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Uuid([u8; 16]);

#[repr(C)]
struct Label([u8; 64]);

#[repr(C)]
struct Report {
    size: u32,
    bytes: [u8; REPORT_ROOM],
}

#[repr(C)]
struct Certificate {
    bytes: [u8; CERTIFICATE_ROOM],
    size: u32,
}

const _: () =
    assert!(size_of::<Report>() == 4 + REPORT_ROOM && size_of::<Certificate>() == 4 + CERTIFICATE_ROOM);

/// What callbacks brought, in their order: a value, or the code of a switch that has none.
type Brought<T> = Vec<Result<T, i8>>;

/// A value as the library hands it to a callback.
trait Value {
    type Owned;
    /// `None` where it says that it is longer than it can be.
    fn owned(self) -> Option<Self::Owned>;
}

impl Nscq {
    /// Loads the library, and opens a session with every switch.
    pub(crate) fn open() -> Result<Self, GpuError> {
        Self::of_library(OsStr::new(LIBRARY))
    }

    pub(crate) fn of_library(name: &OsStr) -> Result<Self, GpuError> {
        // SAFETY: the library is NVIDIA's, of the driver that this machine trusts with its GPUs' evidence anyway; what it does when
        // it is loaded is what it does in NVIDIA's own tools.
        let library = unsafe { Library::new(name) }.map_err(|_| GpuError::NoSwitchDriver)?;
        let missing = |_| GpuError::SwitchLibrary;
        // SAFETY: names and types are those of the published header. The functions are not called after `library` is dropped:
        // `Nscq` drops it last, and hands none of them out.
        let (create, functions) = unsafe {
            let create = *library.get::<Create>(b"nscq_session_create\0").map_err(missing)?;
            let functions = Functions {
                destroy: *library.get(b"nscq_session_destroy\0").map_err(missing)?,
                observe: *library.get(b"nscq_session_path_observe\0").map_err(missing)?,
                input: *library.get(b"nscq_session_set_input\0").map_err(missing)?,
                label: *library.get(b"nscq_uuid_to_label\0").map_err(missing)?,
            };
            (create, functions)
        };
        // SAFETY: as above; the function takes a number.
        let Created { rc, session } = unsafe { create(MOUNT_DEVICES) };
        allowed("open a session", rc)?;
        if session.is_null() {
            return Err(GpuError::Switch { what: "open a session", rc });
        }
        Ok(Self { functions, session, _library: library })
    }

    /// Evidence of every switch, each with an answer to this nonce. One that is not locked is refused.
    pub(crate) fn evidence(&mut self, nonce: &[u8; 32]) -> Result<Vec<RawGpu>, GpuError> {
        let switches = self.locked()?;
        switches.iter().map(|switch| self.of(switch, nonce)).collect()
    }

    /// The names of all switches, each of which is locked.
    pub(crate) fn locked(&mut self) -> Result<Vec<String>, GpuError> {
        let what = "name the switches";
        let labels = self.observe::<*const Uuid>(what, "/drv/nvswitch/{device}/uuid")?;
        let names = labels.iter().map(|uuid| self.name(uuid)).collect::<Result<Vec<_>, _>>()?;
        for switch in &names {
            let mode = self.one::<i8>("say how a switch runs", switch, "pcie_mode")?;
            if mode & LOCKED != LOCKED || mode < 0 {
                return Err(GpuError::SwitchOpen { switch: switch.clone(), mode });
            }
        }
        Ok(names)
    }

    fn of(&mut self, switch: &str, nonce: &[u8; 32]) -> Result<RawGpu, GpuError> {
        let mut nonce = *nonce;
        // SAFETY: the session is open; the pointer and the length are those of `nonce`, which lives through the call, and which the
        // library reads only.
        let rc = unsafe { (self.functions.input)(self.session, 0, nonce.as_mut_ptr().cast(), NONCE_LEN) };
        allowed("take a nonce", rc)?;
        let report = self.one::<Report>("make a switch's report", switch, "attestation_report")?;
        let chain = self.one::<Certificate>("give a switch's certificates", switch, "certificate")?;
        Ok(RawGpu { report, chain })
    }

    /// Of one switch: exactly one answer.
    fn one<V: Value>(&mut self, what: &'static str, switch: &str, leaf: &str) -> Result<V::Owned, GpuError> {
        let mut found = self.observe::<V>(what, &format!("/{switch}/config/{leaf}"))?;
        match (found.pop(), found.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(GpuError::Switch { what, rc: UNEXPECTED }),
        }
    }

    /// Every answer under a path; a switch that has none is an error for all.
    fn observe<V: Value>(&mut self, what: &'static str, path: &str) -> Result<Vec<V::Owned>, GpuError> {
        let path = CString::new(path).map_err(|_| GpuError::Switch { what, rc: UNEXPECTED })?;
        let mut brought: Brought<V::Owned> = Vec::new();
        let callback = called_back::<V> as unsafe extern "C" fn(*const Uuid, i8, V, *mut c_void);
        // SAFETY: pointers to functions have one size; the library calls it with the type that the path has by its documentation,
        // which is `called_back`'s for this `V`.
        let callback: Callback = unsafe { std::mem::transmute(callback) };
        // SAFETY: the session is open, the path ends with a zero and lives through the call. Callbacks come only during the call,
        // on this thread, one at a time, and the last pointer but one is what they take it for.
        let rc = unsafe {
            (self.functions.observe)(self.session, path.as_ptr(), callback, (&raw mut brought).cast(), 0)
        };
        allowed(what, rc)?;
        brought.into_iter().map(|it| it.map_err(|rc| GpuError::Switch { what, rc })).collect()
    }

    fn name(&self, uuid: &Uuid) -> Result<String, GpuError> {
        let what = "name a switch";
        let mut label = Label([0; 64]);
        // SAFETY: both pointers are to values that live through the call, of the header's layout.
        let rc = unsafe { (self.functions.label)(uuid, &raw mut label, 0) };
        allowed(what, rc)?;
        let text = CStr::from_bytes_until_nul(&label.0).ok().and_then(|text| text.to_str().ok());
        // It becomes a part of a path.
        let plain =
            |text: &&str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        text.filter(plain).map(str::to_owned).ok_or(GpuError::Switch { what, rc: UNEXPECTED })
    }
}

impl Drop for Nscq {
    fn drop(&mut self) {
        // SAFETY: the session is open, and not used afterwards.
        unsafe { (self.functions.destroy)(self.session) }
    }
}

/// Takes one answer. It must not panic: there is a library of C between it and whoever would catch that.
unsafe extern "C" fn called_back<V: Value>(_device: *const Uuid, rc: i8, value: V, data: *mut c_void) {
    if data.is_null() {
        return;
    }
    // SAFETY: `observe` handed it in, which waits for us and uses it for nothing else meanwhile.
    let brought = unsafe { &mut *data.cast::<Brought<V::Owned>>() };
    // As many as there can be switches, whatever the library does.
    if brought.len() < MAX_ANSWERS {
        brought.push(if rc < 0 { Err(rc) } else { value.owned().ok_or(UNEXPECTED) });
    }
}

impl Value for *const Uuid {
    type Owned = Uuid;
    fn owned(self) -> Option<Uuid> {
        // SAFETY: null, or a UUID of the library's that lives through the callback.
        unsafe { self.as_ref() }.copied()
    }
}

impl Value for i8 {
    type Owned = Self;
    fn owned(self) -> Option<Self> {
        Some(self)
    }
}

impl Value for Report {
    type Owned = Vec<u8>;
    fn owned(self) -> Option<Vec<u8>> {
        self.bytes.get(..self.size as usize).map(<[u8]>::to_vec)
    }
}

impl Value for Certificate {
    type Owned = Vec<u8>;
    fn owned(self) -> Option<Vec<u8>> {
        self.bytes.get(..self.size as usize).map(<[u8]>::to_vec)
    }
}

/// Warnings (1 to 127) come with an answer.
fn allowed(what: &'static str, rc: i8) -> Result<(), GpuError> {
    if rc < 0 { Err(GpuError::Switch { what, rc }) } else { Ok(()) }
}

/// As the header has them.
pub(super) fn name_of(rc: i8) -> &'static str {
    match rc {
        -1 => "not implemented",
        -2 => "invalid UUID",
        -3 => "a switch cannot be opened",
        -4 => "overflow",
        -5 => "unexpected value",
        -6 => "unsupported driver",
        -7 => "driver error",
        -8 => "timeout",
        -127 => "external error",
        -128 => "unspecified",
        _ => "no code that is known here",
    }
}

/// By the name that the driver's installation gives it.
const LIBRARY: &str = "libnvidia-nscq.so.2";
const MOUNT_DEVICES: u32 = 1;
const NONCE_LEN: u32 = 32;
const REPORT_ROOM: usize = 0x2000;
const CERTIFICATE_ROOM: usize = 0x1400;
/// NSCQ_RC_ERROR_UNEXPECTED_VALUE.
const UNEXPECTED: i8 = -5;
/// Bit 0: confidential mode (TNVL); bit 1: locked, so that the host cannot leave it.
const LOCKED: i8 = 0b11;
const MAX_ANSWERS: usize = 64;

#[cfg(test)]
mod tests;
