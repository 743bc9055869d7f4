#!/usr/bin/env bash
# What action.yml runs: a rank report of each model that changed since a commit, as Markdown, with checks that must hold.
#
# In the environment: MODELS, patterns of git for files, one a line; BASE, the commit to compare with; ASSERT, statements as
# --assert takes them, one a line; ARGUMENTS, further options of rank-report; GITHUB_STEP_SUMMARY, the file that the report goes to.
set -euo pipefail
summary=${GITHUB_STEP_SUMMARY:-/dev/stdout}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

mapfile -t patterns < <(grep -v '^[[:space:]]*$' <<< "${MODELS:-*.onnx}")
options=()
while IFS= read -r statement; do
  [[ -z ${statement// /} ]] || options+=(--assert "$statement")
done <<< "${ASSERT:-}"
read -r -a more <<< "${ARGUMENTS:-}"

# A file as it was; through Git LFS where it was kept there.
before() {
  git show "$1:$2" > "$3"
  if [[ $(head -c 40 "$3") == 'version https://git-lfs'* ]]; then
    git lfs smudge < "$3" > "$3.lfs" && mv "$3.lfs" "$3"
  fi
}

mapfile -d '' -t changed < <(git diff --name-only --diff-filter=AMR -z "$BASE" -- "${patterns[@]}")
if ((${#changed[@]} == 0)); then
  echo 'No model changed.' >> "$summary"
  exit 0
fi
failed=0
for model in "${changed[@]}"; do
  printf '### %s\n\n' "$model" >> "$summary"
  given=("$model")
  checks=("${options[@]}")
  if git cat-file -e "$BASE:$model" 2> /dev/null; then
    before "$BASE" "$model" "$scratch/before.onnx"
    given=("$scratch/before.onnx" "$model")
  else
    # Of a new model nothing can be said about before.
    kept=()
    for ((i = 1; i < ${#options[@]}; i += 2)); do
      [[ ${options[i]} == *before* ]] || kept+=(--assert "${options[i]}")
    done
    checks=(${kept[@]+"${kept[@]}"})
  fi
  code=0
  onnx-overparam rank-report "${given[@]}" --format md ${checks[@]+"${checks[@]}"} ${more[@]+"${more[@]}"} \
    | sed "s#$scratch/##g" >> "$summary" || code=$?
  printf '\n' >> "$summary"
  ((code == 0)) || { failed=1; echo "::error file=$model::rank-report ended with code $code"; }
done
exit "$failed"
