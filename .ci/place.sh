#!/usr/bin/env bash
# place.sh FILE... FOLDER: copies each file into the folder if its content differs from what is
# there, written beside and renamed, because a running host may be watching the folder.
set -euo pipefail

folder=${!#}
mkdir -p "$folder"
for file in "${@:1:$#-1}"; do
    to=$folder/${file##*/}
    cmp -s "$file" "$to" && continue
    cp "$file" "$to.part"
    mv "$to.part" "$to"
done
