#!/usr/bin/env bash
# sbatch examples/slurm.sh MODEL DATA CTX OUT. Slurm ends a job at its time limit: two minutes before it sends the signal on
# which the program saves the last step and exits with 130; the job then queues itself again, and goes on to the same bits.
#SBATCH --job-name=longlora
#SBATCH --gpus=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=128G
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
model=${1:?} data=${2:?} ctx=${3:?} out=${4:?}
longlora=${LONGLORA:-longlora}

srun "$longlora" extend --model "$model" --data "$data" --ctx "$ctx" --out "$out" --steps "${STEPS:-1000}" --accum 8 --save-every 50
code=$?
if [ "$code" -eq 130 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
