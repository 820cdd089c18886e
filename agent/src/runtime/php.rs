//! What is attached to PHP-FPM: probes that tell when a worker begins and ends
//! a request. They are in its executable file, for all its processes: a worker
//! may have its first request as soon as it is there.

use super::elf::Executable;
use super::point::Point;

/// Begins a request, in any PHP that serves some.
const STARTUP: &str = "php_request_startup";
/// Ends it; its response is complete afterwards.
const SHUTDOWN: &str = "php_request_shutdown";
/// Where PHP keeps the request, in builds without threads.
const GLOBALS: &str = "sapi_globals";
/// The function for scripts that completes the response early. It is PHP-FPM's alone.
const FINISH: &str = "fastcgi_finish_request";

/// Places with that name, for each of which the whole file is searched.
const MOST_NAMES: usize = 8;

/// What is to be attached to `executable`, in this order: what ends requests first. An error if it is PHP-FPM and not
/// understood, `None` if it is not.
pub(super) fn examine(executable: &Executable<'_>) -> Option<Result<Vec<Point>, String>> {
    let (startup, _) = executable.exported(STARTUP)?;
    let names = executable.texts(FINISH);
    (!names.is_empty()).then(|| understand(executable, startup, &names))
}

fn understand(executable: &Executable<'_>, startup: u64, names: &[u64]) -> Result<Vec<Point>, String> {
    let (shutdown, _) =
        executable.exported(SHUTDOWN).ok_or_else(|| format!("the function {SHUTDOWN} was not found"))?;
    let (globals, _) = executable
        .exported(GLOBALS)
        .ok_or_else(|| format!("{GLOBALS} was not found: builds with threads (ZTS) are not supported"))?;
    // `zend_function_entry` (Zend/zend_API.h) begins with the name and the function.
    if names.len() > MOST_NAMES {
        return Err(format!("{FINISH} was found {} times", names.len()));
    }
    let entries = names.iter().flat_map(|name| executable.references(*name));
    let functions = entries.filter_map(|entry| executable.word(entry.checked_add(8)?));
    let code = functions.filter_map(|function| executable.code_offset(function)).collect::<Vec<_>>();
    let &[finish] = code.as_slice() else {
        return Err(format!("the function {FINISH} was found {} times", code.len()));
    };
    let at = |program, address| {
        let offset = executable.code_offset(address).ok_or("a function is outside of its code")?;
        Ok::<_, String>(Point::new(program, offset))
    };
    // How far behind the function that begins a request its globals are.
    let begin = Point { cookie: Some(globals.wrapping_sub(startup)), ..at("php_begins", startup)? };
    Ok(vec![Point::new("php_finishes", finish), at("php_ends", shutdown)?, begin])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_are_not_fpm() {
        let program = std::fs::read("/proc/self/exe").expect("this program");
        assert_eq!(examine(&Executable::parse(&program).expect("ELF")), None);
    }

    #[test]
    fn a_table_of_functions_is_found_by_its_names() {
        extern "C" fn one() {}
        #[repr(C)]
        struct Entry(*const std::ffi::c_char, extern "C" fn());
        // SAFETY: it is never changed.
        #[expect(unsafe_code, reason = "pointers in a static")]
        unsafe impl Sync for Entry {}
        static TABLE: [Entry; 1] = [Entry(c"the name of a function in a table".as_ptr(), one)];
        assert!(!std::hint::black_box(&TABLE)[0].0.is_null());
        std::hint::black_box(&TABLE)[0].1();

        let program = std::fs::read("/proc/self/exe").expect("this program");
        let executable = Executable::parse(&program).expect("ELF");
        let name = ["the name of a function", " in a table"].concat();
        let entries = executable.texts(&name).into_iter().flat_map(|name| executable.references(name));
        let functions: Vec<_> = entries.filter_map(|entry| executable.word(entry + 8)).collect();
        assert_eq!(functions.len(), 1, "{functions:x?}");
        assert!(executable.code_offset(functions[0]).is_some());
        assert!(executable.code_offset(0).is_none() && executable.texts("no such text").is_empty());
    }
}
