# What is run by name and takes long. The one test command is `bash tests/run`.

# Fuzz every target for so many seconds: new inputs and findings go under target/fuzz (needs `cargo install cargo-fuzz`)
fuzz seconds='300':
    #!/usr/bin/env bash
    set -euo pipefail
    for target in envelope node content proto_to_lime; do
        mkdir -p "target/fuzz/corpus/$target" "target/fuzz/found/$target"
        cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none "$target" \
            "target/fuzz/corpus/$target" "tests/fuzz/corpus/$target" \
            -- -max_total_time={{ seconds }} -rss_limit_mb=2048 -artifact_prefix="target/fuzz/found/$target/"
    done
