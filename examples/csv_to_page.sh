#!/bin/sh
# From a CSV to a page that recommends, and on to the next day.
#
#     sh examples/csv_to_page.sh [FOLDER]
#
# It needs softrec[tune,export,index,serve] and curl. SMALL may hold options that make it shorter.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-runs/page}" && cd "${1:-runs/page}"
: "${PORT:=8000}"

# What is known today, and what will be known tomorrow.
awk -F, 'NR == 1 || $3 < 1730000000' "$here/shop.csv" > today.csv
awk -F, 'NR == 1 || $3 >= 1730000000' "$here/shop.csv" > tomorrow.csv

# shellcheck disable=SC2086
softrec tune today.csv --items "$here/shop-items.csv" --model gru4rec --target pop+ \
    ${SMALL:---trials 6 --epochs 20 --seeds 1} --out tuned
softrec export tuned/runs/seed0 --to export
softrec index export

softrec serve export --port "$PORT" &
trap 'kill $!' EXIT
until curl -fs "localhost:$PORT/health" > health.json; do kill -0 $!; sleep 1; done
curl -fs "localhost:$PORT/recommend" -H "Content-Type: application/json" > answer.json -d \
    '{"histories": [["sku-0007", "sku-0012"]], "k": 5, "rules": {"where": "stock > 0"}}'
cat answer.json
echo "The page is at http://localhost:$PORT/"

softrec update tuned/runs/seed0 --data tomorrow.csv --out next || [ $? = 3 ]
