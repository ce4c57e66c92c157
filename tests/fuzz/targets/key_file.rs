#![no_main]

quorate_fuzz::run!("key_file");
