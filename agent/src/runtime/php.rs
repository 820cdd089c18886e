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

/// What is known of an executable file of PHP-FPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fpm {
    /// What is to be attached, in this order: what ends requests first.
    pub(super) points: Vec<Point>,
    /// How far behind the function that begins a request its globals are.
    pub(super) globals: u64,
}

/// What is to be attached to `executable`; an error if it is PHP-FPM and not understood, `None` if it is not.
pub(super) fn examine(executable: &Executable<'_>) -> Option<Result<Fpm, String>> {
    let (startup, _) = executable.exported(STARTUP)?;
    let name = executable.find_text(FINISH)?;
    Some(understand(executable, startup, name))
}

fn understand(executable: &Executable<'_>, startup: u64, name: u64) -> Result<Fpm, String> {
    let (shutdown, _) =
        executable.exported(SHUTDOWN).ok_or_else(|| format!("the function {SHUTDOWN} was not found"))?;
    let (globals, _) = executable
        .exported(GLOBALS)
        .ok_or_else(|| format!("{GLOBALS} was not found: builds with threads (ZTS) are not supported"))?;
    // `zend_function_entry` (Zend/zend_API.h) begins with the name and the function.
    let entries = executable.references(name);
    let functions = entries.into_iter().filter_map(|entry| executable.word(entry.checked_add(8)?));
    let code = functions.filter_map(|function| executable.code_offset(function)).collect::<Vec<_>>();
    let &[finish] = code.as_slice() else {
        return Err(format!("the function {FINISH} was found {} times", code.len()));
    };
    let at = |program, address| {
        let offset = executable.code_offset(address).ok_or("a function is outside of its code")?;
        Ok::<_, String>(Point { program, offset })
    };
    let finish = Point { program: "php_finishes", offset: finish };
    let points = vec![finish, at("php_ends", shutdown)?, at("php_begins", startup)?];
    Ok(Fpm { points, globals: globals.wrapping_sub(startup) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_programs_are_not_fpm() {
        let program = std::fs::read("/proc/self/exe").expect("this program");
        assert_eq!(examine(&Executable::parse(&program).expect("ELF")), None);
    }

    /// Where it is installed, as for the end-to-end tests.
    #[test]
    fn an_installed_fpm_is_understood() {
        let programs = std::fs::read_dir("/usr/sbin").into_iter().flatten().flatten();
        for program in programs.filter(|program| program.file_name().to_string_lossy().starts_with("php-fpm")) {
            let data = std::fs::read(program.path()).expect("readable");
            let found = examine(&Executable::parse(&data).expect("ELF"));
            let found = found.expect("recognised").expect("understood");
            assert_eq!(found.points.len(), 3);
            assert!(found.points.iter().all(|point| point.offset > 0));
        }
    }
}
