//! The character set of the process's locale, as the caller of the process chose it.

use std::ffi::{CStr, CString};
use std::ptr;

/// Whether text is UTF-8 in the locale that the environment names. Python may have replaced the variables since the
/// process began, so those are read that it began with.
pub(crate) fn is_utf8() -> bool {
    let environment = std::fs::read("/proc/self/environ").unwrap_or_default();
    let value = |name: &str| {
        let mut variables = environment.split(|&byte| byte == 0);
        let found = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        found.filter(|value| !value.is_empty())
    };
    let name = value("LC_ALL").or_else(|| value("LC_CTYPE")).or_else(|| value("LANG"));
    name.and_then(|name| CString::new(name).ok()).is_some_and(|name| has_utf8(&name))
}

/// Whether there is a locale of that name, and its character set is UTF-8.
fn has_utf8(name: &CStr) -> bool {
    // SAFETY: the name is NUL-terminated, and there is no locale to start from.
    let locale = unsafe { libc::newlocale(libc::LC_CTYPE_MASK, name.as_ptr(), ptr::null_mut()) };
    if locale.is_null() {
        return false;
    }
    // SAFETY: the locale was just made.
    let codeset = unsafe { libc::nl_langinfo_l(libc::CODESET, locale) };
    // SAFETY: the C library gives a NUL-terminated string, which lives as long as the locale does.
    let is_utf8 = unsafe { CStr::from_ptr(codeset) }.to_bytes().eq_ignore_ascii_case(b"utf-8");
    // SAFETY: nobody else has the locale, and the string of it was used for the last time.
    unsafe { libc::freelocale(locale) };
    is_utf8
}
