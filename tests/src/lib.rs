//! Black box: stock clients and kills against real processes.
