# SPDX-License-Identifier: Apache-2.0
add_library(lib_script STATIC ${CMAKE_CURRENT_LIST_DIR}/script.c)
target_link_libraries(lib_script PUBLIC dmioctl PkgConfig::CMOCKA)

foreach(module ioctl ioctl_request ioctl_reply device list table target_msg system majors transport)
    dmrpc_unit_test(lib_${module} lib_script)
endforeach()
dmrpc_unit_test(lib_ioctl_buffer lib_script -Wl,--wrap=calloc,--wrap=free)
dmrpc_unit_test(lib_memory lib_script
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free)
dmrpc_unit_test(lib_transport_kernel lib_script
    -Wl,--wrap=open,--wrap=ioctl,--wrap=close,--wrap=fopen)
