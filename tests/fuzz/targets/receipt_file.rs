#![no_main]

quorate_fuzz::run!("receipt_file");
