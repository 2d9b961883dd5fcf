#!/bin/sh
# Runs grade.sbatch on a Slurm of two nodes on this host: 24 students in 6 parts. One node is lost in the middle, and its task
# is started again. The merged table has to equal that of a single run. Needs slurmctld, slurmd, munged and root; where one
# is missing, the test is skipped (exit code 77).
#
#   cargo build -p lab && exercises/grading/slurm/test.sh
set -eu
skip() { echo "skipped: $1"; exit 77; }
for program in slurmctld slurmd sbatch scontrol munged; do
    command -v $program > /dev/null || skip "$program is not installed (Debian: apt-get install slurm-wlm munge)"
done
[ "$(id -u)" = 0 ] || skip "two nodes on one host need root"

here=$(cd "$(dirname "$0")" && pwd)
course=$(cd "$here/../../.." && pwd)
lab=${LAB:-$course/target/debug/lab}
[ -x "$lab" ] || skip "$lab is missing: cargo build -p lab"
top=$(mktemp -d)
host=$(hostname -s)
quick="--quick --only 20"
mkdir -p "$top/state" "$top/spool-n1" "$top/spool-n2" "$top/class" "$top/results"

end() {
    for file in "$top"/*.pid; do
        [ -e "$file" ] && kill "$(cat "$file")" 2> /dev/null || :
    done
    [ -n "${munge:-}" ] && kill "$(cat /run/munge/munged.pid)" 2> /dev/null || :
    rm -rf "$top"
}
trap end EXIT

# 24 students: some of them sleep in their server, so that a node can be lost meanwhile.
student=1
while [ $student -le 24 ]; do
    folder=$top/class/$(printf 's%02d' $student)
    mkdir "$folder"
    attempt=$folder/$(basename "$course"/exercises/20_*).rs
    case $((student % 4)) in
        0) cp "$course"/exercises/20_*/starter.rs "$attempt" ;;
        1) echo 'fn main() { let server: u32 = "none"; }' > "$attempt" ;;
        2) echo 'fn main() { std::thread::sleep(std::time::Duration::from_secs(6)); std::process::exit(3) }' > "$attempt" ;;
        3) echo 'I was ill' > "$folder/notes.txt" ;;
    esac
    student=$((student + 1))
done

cat > "$top/slurm.conf" << END
ClusterName=class
SlurmctldHost=$host
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$top/state
SlurmdSpoolDir=$top/spool-%n
SlurmctldLogFile=$top/ctld.log
SlurmdLogFile=$top/%n.log
SlurmctldPidFile=$top/ctld.pid
SlurmdPidFile=$top/%n.pid
SlurmdTimeout=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmctldPort=26817
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=27001 CPUs=1
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=27002 CPUs=1
PartitionName=lab Nodes=n1,n2 Default=YES MaxTime=60 State=UP
END
export SLURM_CONF="$top/slurm.conf"
wait_for() {
    tries=600
    until eval "$2"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { echo "not within 10 minutes: $1"; tail -n 20 "$top"/*.log; exit 1; }
        sleep 1
    done
}

if ! munge -n > /dev/null 2>&1; then
    mkdir -p /run/munge
    chown munge: /run/munge
    su -s /bin/sh munge -c munged
    munge=started
    wait_for "munged answers" "munge -n > /dev/null 2>&1"
fi
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N n1
slurmd -f "$SLURM_CONF" -N n2
wait_for "both nodes are idle" '[ "$(sinfo -h -N -t idle | wc -l)" = 2 ]'

echo "one machine"
# shellcheck disable=SC2086
"$lab" grade --class "$top/class" --results "$top/whole" --format csv --output "$top/whole.csv" $quick 2> "$top/whole.log"

echo "two nodes, six parts"
LAB=$lab LAB_OPTIONS=$quick sbatch --parsable --array=1-6 --chdir="$course" --output="$top/task-%a.log" \
    "$here/grade.sbatch" "$top/class" "$top/results" > "$top/job"
job=$(cat "$top/job")
wait_for "a student of a task on n2 is graded" '[ -n "$(squeue -h -t R -w n2)" ] && [ "$(ls "$top/results/students" 2> /dev/null | wc -l)" -ge 2 ]'
lost=$(squeue -h -t R -w n2 -o %K)
kill -9 "$(cat "$top/n2.pid")"
# What the node ran is lost with it.
scontrol update nodename=n2 state=down reason="lost by the test"
pids=$(pgrep -f "$top/results --shard $lost/6" || :)
# shellcheck disable=SC2086
[ -z "$pids" ] || kill -9 $pids 2> /dev/null || :
rm -f "$top/n2.pid"
echo "n2 was lost with part $lost of 6"
wait_for "all tasks have ended" '[ -z "$(squeue -h)" ]'
for part in 1 2 3 4 5 6; do
    [ -s "$top/results/part-$part.json" ] || { echo "part $part is missing"; cat "$top/task-$part.log"; exit 1; }
done
"$lab" merge --format csv --output "$top/merged.csv" "$top"/results/part-*.json
cmp "$top/whole.csv" "$top/merged.csv"
echo "ok: job $job, the merged table equals that of one machine ($(wc -l < "$top/merged.csv") lines)"
