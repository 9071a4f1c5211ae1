#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        let done = tenure_fuzz::cli::run(&std::env::var("CORPUS").unwrap_or_default());
        if let Err(error) = &done {
            eprintln!("{error}");
        }
        std::process::exit(i32::from(done.is_err()))
    },
    |_data: &[u8]| ()
);
